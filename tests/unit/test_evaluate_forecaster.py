"""`finsight evaluate forecaster`: figures, words, files, and what it refuses."""

import itertools
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from finsight.commands.application import app
from finsight.domain.errors import FinSightError, InvalidInput, NotFound
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe
from finsight.settings import Settings
from finsight.training import evaluate_forecaster as job
from finsight.wiring import open_model_registry
from tests.builders import HOUR, NOON
from tests.judged_forecasters import END, KIND, a_platform, a_version

Evaluate = Callable[..., str]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, datetime]:
    return a_platform(tmp_path_factory.mktemp("data"))


@pytest.fixture
def evaluate(platform: tuple[Settings, datetime], monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """Run `finsight evaluate forecaster …` on that platform; return what it printed."""
    monkeypatch.setenv("FINSIGHT_DATA_DIR", str(platform[0].data_dir))
    monkeypatch.setenv("COLUMNS", "120")

    def run_command(*arguments: str) -> str:
        outcome = CliRunner().invoke(app, ["evaluate", "forecaster", *arguments])
        if isinstance(outcome.exception, FinSightError):
            raise outcome.exception
        assert outcome.exit_code == 0, outcome.output
        return outcome.stdout

    return run_command


def test_it_forecasts_only_what_the_version_never_saw(
    evaluate: Evaluate, platform: tuple[Settings, datetime], tmp_path: Path
) -> None:
    out = tmp_path / "forecasts.parquet"
    document = json.loads(evaluate("--every", "10", "--json", "--out", str(out)))
    table = pq.read_table(out)
    assert json.loads(table.schema.metadata[b"verdict"])["words"] == document["words"]
    first = pc.min(table.column("opened_at")).as_py()
    assert first == platform[1]
    assert pc.max(table.column("opened_at")).as_py() < END
    # Every tenth candle from the one before the first forecast on, of both series.
    origins = table.column("origin").unique().to_pylist()
    assert origins[0] == platform[1] - HOUR
    assert {(b - a) / HOUR for a, b in itertools.pairwise(origins)} == {10}
    assert document["overall"]["origins"] == 2 * len(origins)
    assert document["horizon"] == 6
    assert [one["step"] for one in document["by_step"]] == [1, 6]
    assert [one["series"] for one in document["by_series"]] == [
        "binance:BTC-USDT:1h",
        "binance:ETH-USDT:1h",
    ]


def test_nobody_beats_naive_on_a_random_walk_and_the_words_say_so(evaluate: Evaluate) -> None:
    printed = evaluate("--series", "binance:BTC-USDT:1h")
    assert "does not beat naive" in printed
    assert "Diebold-Mariano p = " in printed
    assert "80 % interval held" in printed
    assert "direction right in" in printed or "never said a direction" in printed
    assert "binance:BTC-USDT" in printed
    assert "ETH" not in printed


def test_pictures_are_drawn(evaluate: Evaluate, tmp_path: Path) -> None:
    printed = evaluate("--every", "40", "--pictures", str(tmp_path / "drawn"))
    assert f"written: {tmp_path / 'drawn'}" in printed
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "drawn").iterdir()}
    assert sorted(drawn) == [
        "coverage_over_time.png",
        "error_by_step.png",
        "typical_forecast.png",
        "worst_forecast.png",
    ]
    assert all(png.startswith(b"\x89PNG") and len(png) > 5_000 for png in drawn.values())
    assert len(set(drawn.values())) == 4


def test_a_model_refitted_learns_only_from_before_each_stretch(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    out = tmp_path / "forecasts.parquet"
    since = NOON + 500 * HOUR
    printed = evaluate(
        "--refit-every", "250", "--every", "25", "--since", f"{since:%Y-%m-%dT%H:%M}",
        "--out", str(out),
    )  # fmt: skip
    assert "trained anew every 250 candles" in printed
    for row in pq.read_table(out).select(["model_version", "origin"]).to_pylist():
        trained = datetime.strptime(row["model_version"][-16:] + " +0000", "%Y-%m-%d %H:%M %z")
        assert trained <= row["origin"] + HOUR < trained + 250 * HOUR


def test_a_model_that_sees_more_than_prices_is_judged_with_all_it_sees(
    evaluate: Evaluate, platform: tuple[Settings, datetime]
) -> None:
    recipe = ForecasterRecipe(
        family=Family.NHITS, exogenous=True, input_size=24, patch_length=24, horizon=6, steps=3
    )
    _, version = a_version(platform[0], recipe)
    assert f"NHITS {version}" in evaluate("--version", version, "--every", "30")
    refitted = evaluate("--version", version, "--every", "30", "--refit-every", "600")
    assert "trained anew every 600 candles" in refitted


def test_the_job_prints_the_verdict_and_its_failures(
    platform: tuple[Settings, datetime], capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data-dir", str(platform[0].data_dir)]
    os.environ.pop("FINSIGHT_DATA_DIR", None)
    assert job.main([*where, "--every", "60"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any("forecasts judged" in line for line in printed)
    assert json.loads(printed[-1])["every"] == 60
    assert job.main([*where, "--version", "99"]) == 1
    assert "has no version 99; there are: " in capsys.readouterr().err


REFUSED: dict[str, tuple[list[str], type[FinSightError], str]] = {
    "no such version": (["--version", "77"], NotFound, "no version 77; there are: "),
    "no challenger": (["--version", "challenger"], NotFound, "has no challenger"),
    "no champion": (["4h"], NotFound, "has no champion; train one with `finsight train forecaster"),
    "no such timeframe": (["1x"], InvalidInput, "not a timeframe"),
    "no such series": (["--series", "kraken:A-B:1h"], NotFound, "stored: binance:BTC-USDT:1h"),
    "too far": (["--horizon", "7"], InvalidInput, "at most 6 candles ahead, not 7"),
    "no horizon": (["--horizon", "0"], InvalidInput, "at least 1"),
    "no stride": (["--every", "0"], InvalidInput, "at least 1"),
    "no refit": (["--refit-every", "0"], InvalidInput, "at least 1"),
    "what it learnt from": (["--since", "2024-01-05"], InvalidInput, "learnt from candles before"),
    "nothing since": (["--since", "2025-01-01"], InvalidInput, "its candles end at 2024"),
    "no date": (["--since", "soon"], InvalidInput, "is not a date"),
    "no table": (["--out", "forecasts.csv"], InvalidInput, "must end in .parquet"),
    "no folder": (["--out", "/nowhere/at/all.parquet"], InvalidInput, "there is no folder"),
    "nothing to learn from": (
        ["--refit-every", "100", "--since", "2024-01-02"],
        InvalidInput,
        "too little history",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_is_refused_in_words(evaluate: Evaluate, name: str) -> None:
    arguments, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words):
        evaluate(*arguments)


def test_a_version_that_does_not_say_what_it_learnt_from_is_refused(
    evaluate: Evaluate, platform: tuple[Settings, datetime], tmp_path: Path
) -> None:
    registry = open_model_registry(platform[0])
    champion = registry.champion(KIND)
    assert champion is not None
    folder = registry.fetch(champion, tmp_path)
    silent = registry.register(KIND, folder, params={}, metrics={}, tags={})
    with pytest.raises(InvalidInput, match="no tag trained_until"):
        evaluate("--version", silent.version)
