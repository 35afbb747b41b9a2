"""`finsight models`: real candles, a real registry, a real PatchTST; for people and programs."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.commands.application import app
from finsight.domain.errors import InvalidInput, NotFound
from finsight.ports.models import ModelReference
from finsight.settings import Settings
from finsight.wiring import open_candle_store, open_unsent_runs
from tests.builders import BTC_HOURLY, a_tide

KIND = "forecaster-1h"
Run = Callable[..., str]


@pytest.fixture
async def run(mlflow_folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command over a stored tide, at the end of it; returns what it prints."""
    await open_candle_store(settings).upsert(BTC_HOURLY, a_tide(1100))
    monkeypatch.setenv("FINSIGHT_DATA_DIR", str(settings.data_dir))
    offset = datetime(2024, 2, 15, 20, tzinfo=UTC) - datetime.now(UTC)
    monkeypatch.setenv("FINSIGHT_CLOCK_OFFSET_S", str(offset.total_seconds()))
    # Tables are as wide as what is in them, for whoever looks for a word.
    monkeypatch.setenv("COLUMNS", "400")

    def run_command(*arguments: str, code: int = 0) -> str:
        outcome = CliRunner().invoke(app, ["models", *arguments])
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        assert outcome.exit_code == code, outcome.output
        return outcome.output

    return run_command


def register(folder: Path, model: Path, steps: str = "60") -> ModelReference:
    until = (model.parent / "trained_until").read_text()
    return MlflowRegistry(None, folder).register(
        KIND,
        model,
        params={"steps": steps, "hidden_size": "32"},
        metrics={"held_out_ratio_to_naive": 0.15, "network_weight": 1.0},
        tags={
            "model": "PatchTST",
            "trained_until": until,
            "trained_on": BTC_HOURLY.key,
            "horizon": "12",
            "input_candles": "48",
        },
    )


def test_one_that_knows_the_tide_is_promoted_and_its_twin_refused(
    run: Run, mlflow_folder: Path, tidal_model: Path
) -> None:
    register(mlflow_folder, tidal_model)
    said = run("promote", KIND, "1", "--by", "ada", "--reason", "it knows the tide")
    assert "promoted: forecaster-1h version 1, by ada" in said
    assert "it knows the tide. better than naive: mean scaled pinball loss" in said
    assert "version 1 serves" in said
    register(mlflow_folder, tidal_model, steps="61")
    refused = json.loads(run("promote", KIND, "2", "--json", code=1))
    assert refused["verdict"] == "refused"
    assert "not better than version 1" in refused["reason"]
    assert refused["evidence"]["pinball"] == refused["evidence"]["pinball_of_version_1"]
    assert "@" in refused["by"]
    compared = run("compare", KIND)
    assert "not measurably better" in compared
    assert "steps" in compared
    assert "hidden_size" not in compared
    forced = run("promote", KIND, "2", "--force", "--reason", "a rehearsal")
    assert "forced" in forced
    back = run("rollback", KIND, "--reason", "the rehearsal is over", "--by", "ada")
    assert "rolled back: forecaster-1h version 1" in back
    shown = json.loads(run("show", KIND, "2", "--json"))
    assert [one["verdict"] for one in shown["decisions"]] == ["rolled back", "forced", "refused"]
    assert shown["params"]["steps"] == "61"
    assert shown["tags"]["finsight_version"]
    listed = run("list")
    assert "champion" in listed
    assert "held_out_ratio_to_naive 0.15" in listed
    cards = json.loads(run("list", KIND, "--json"))["models"]
    assert [(one["version"], one["aliases"]) for one in cards] == [("2", []), ("1", ["champion"])]
    page = run("show", KIND, "1")
    assert "the rehearsal is over" in page
    assert "2024-02-08T23:00:00+00:00" in page


def test_nothing_registered_is_said(run: Run) -> None:
    assert "no model is registered yet" in run("list")
    assert "no run waits to be sent" in run("send")
    with pytest.raises(NotFound, match="registered kinds: none"):
        run("show", KIND, "1")
    with pytest.raises(InvalidInput, match="train another first"):
        run("compare", KIND)
    with pytest.raises(NotFound, match="nothing to roll back"):
        run("rollback", KIND, "--reason", "no reason")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "sentiment' OR 1=1", "1"), "is no kind of model"),
        (("show", KIND, "newest"), "is no version"),
        (("promote", KIND, "-1"), ""),
    ],
)
def test_wrong_names_are_refused(run: Run, arguments: tuple[str, ...], words: str) -> None:
    if not words:
        run(*arguments, code=2)
        return
    with pytest.raises(InvalidInput, match=words):
        run(*arguments)


def test_labelled_files_are_read_before_any_model_is(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"there is no file .*none\.csv"):
        run("promote", "sentiment", "1", "--on", str(tmp_path / "none.csv"))


def test_kept_runs_are_sent_and_gone(
    run: Run, settings: Settings, mlflow_folder: Path, tidal_model: Path
) -> None:
    unsent = open_unsent_runs(settings)
    for number in (1, 2):
        unsent.keep(
            f"run-{number}",
            KIND,
            tidal_model,
            params={"steps": str(number)},
            metrics={"mae": 0.5},
            tags={},
            history={"loss": [2.0, 1.0]},
            pictures={"loss.png": b"png"},
        )
    assert "2 runs wait to be registered" in run("list")
    assert "run-1 is forecaster-1h version 1" in run("send")
    assert unsent.waiting() == []
    assert json.loads(run("send", "--json")) == {"sent": []}
    versions = MlflowRegistry(None, mlflow_folder).versions(KIND)
    assert [one.tags["registration"] for one in versions] == ["run-2", "run-1"]
