"""The commands as a person uses them: help, mistakes, output for people and for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
import typer
import typer.main

from finsight import cli
from finsight.commands.application import app
from finsight.recordings.server import RECORDINGS, RecordedWorld, start_recorded_world

RECORDED_NOW = datetime(2025, 12, 13, 12, tzinfo=UTC)
NOBODY = "http://127.0.0.1:1"
SERIES = ("binance", "BTC/USDT", "1h")
FAILED, CALLERS_MISTAKE = 1, 2


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `finsight …` here, with a data folder of its own and no platform running."""
    monkeypatch.setenv("FINSIGHT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FINSIGHT_API_URL", NOBODY)
    monkeypatch.setenv("COLUMNS", "120")

    def run_command(*arguments: str, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["finsight", *arguments])
        monkeypatch.setattr(sys, "stdin", StringIO(stdin))
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return run_command


class _Clock:
    def now(self) -> datetime:
        return RECORDED_NOW


@pytest.fixture(scope="module")
def world() -> Iterator[RecordedWorld]:
    with start_recorded_world(RECORDINGS, _Clock()) as running:
        yield running


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, world: RecordedWorld) -> RecordedWorld:
    """The recorded venues instead of the real ones, and the clock of their time."""
    venues = {name: {"base_url": url} for name, url in world.venue_urls.items()}
    monkeypatch.setenv("FINSIGHT_EXCHANGES", json.dumps(venues))
    offset_s = (RECORDED_NOW - datetime.now(UTC)).total_seconds()
    monkeypatch.setenv("FINSIGHT_CLOCK_OFFSET_S", str(offset_s))
    monkeypatch.setenv("FINSIGHT_ALLOW_PRIVATE_FEEDS", "true")
    return world


def all_commands() -> list[tuple[str, ...]]:
    found = []

    def walk(group: object, path: tuple[str, ...]) -> None:
        for name, command in getattr(group, "commands", {}).items():
            if getattr(command, "commands", None):
                walk(command, (*path, name))
            else:
                found.append((*path, name))

    walk(typer.main.get_command(app), ())
    return found


@pytest.mark.parametrize("command", all_commands(), ids=" ".join)
def test_help_shows_an_example_of_the_command(run: Run, command: tuple[str, ...]) -> None:
    shown = run(*command, "--help")
    assert shown.code == 0
    assert "Example" in shown.out
    assert f"finsight {' '.join(command)}" in shown.out.split("Example", 1)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("backfill", "nosuch", "BTC/USDT", "1h", "--since", "2024-01-01"), "nosuch"),
        (("backfill", "binance", "BTCUSDT", "1h", "--since", "2024-01-01"), "binance BTC/USDT"),
        (("backfill", "binance", "BTC/USDT", "7h", "--since", "2024-01-01"), "1m, 3m, 5m"),
        (("backfill", *SERIES, "--since", "yesterday"), "write 2024-01-01"),
        (("backfill", *SERIES, "--since", "0001-01-01"), "write 2024-01-01"),
        (("backfill", *SERIES, "--since", "2024-02-01", "--until", "2024-01-01"), "not before"),
        (("backfill", *SERIES), "--since 2024-01-01"),
        (("backfill", *SERIES, "--gaps"), "no gaps"),
        (("predict", "binance", "BTCUSDT", "1h"), "binance BTC/USDT"),
        (("predict", "binance", "BTC/USDT", "1 hour"), "1m, 3m, 5m"),
        (("sentiment", ""), "no text"),
        (("sentiment",), "no text"),
        (("sentiment", "x" * 100_001), "100,000"),
        (("train", "forecaster", "7h"), "1m, 3m, 5m"),
        (("collect", "--config", "/nowhere/serve.yaml"), "can't read /nowhere/serve.yaml"),
        (("demo", "--json", "/nowhere/demo.json"), "no folder /nowhere"),
        (("demo", "--recordings", "/nowhere"), "/nowhere/feeds"),
        (("demo", "--data-dir", "/proc/nowhere"), "can't be written"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    outcome = run(*arguments)
    assert outcome.code == CALLERS_MISTAKE
    assert said in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert outcome.out.strip() == ""


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("a: [b", "not valid YAML"),
        ("just a text", "names no application `finsight`"),
        ("applications: [{name: other}]", "found: other"),
        ("applications: [{name: finsight, args: {frob: 1}}]", "frob"),
        ("applications: [{name: finsight, args: 3}]", "table of settings"),
        ("applications: [{name: finsight, args: {series: [{exchange: binance}]}}]", "series.0"),
    ],
)
@pytest.mark.parametrize("command", ["collect", "up"])
def test_a_wrong_config_is_named_so_before_anything_starts(
    run: Run, tmp_path: Path, command: str, config: str, said: str
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(config)
    outcome = run(command, "--config", str(file))
    assert outcome.code == CALLERS_MISTAKE
    assert said in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("FINSIGHT_CLOCK_OFFSET_S", "soon", "clock_offset_s"),
        ("FINSIGHT_SERIES", "[{", "series"),
        ("FINSIGHT_REDISURL", "redis://127.0.0.1", "did you mean FINSIGHT_REDIS_URL"),
    ],
)
def test_a_wrong_variable_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    outcome = run("status")
    assert outcome.code == CALLERS_MISTAKE
    assert said in outcome.err


def test_variables_that_kubernetes_sets_are_let_be(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINSIGHT_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("FINSIGHT_PORT", "tcp://10.0.0.1:8000")
    assert "isn't answering" in run("status").err


def test_a_cluster_that_does_not_answer_is_said_at_once(tmp_path: Path) -> None:
    # In a process of its own: starting Ray sets variables that Ray reads once, on import.
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "FINSIGHT_DATA_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "finsight.cli", "up", "--port", "18999"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == FAILED
    assert "RAY_ADDRESS=127.0.0.1:1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_is_said_before_anything_starts(run: Run, world: RecordedWorld) -> None:
    outcome = run("up", "--port", world.base_url.rpartition(":")[2])
    assert outcome.code == CALLERS_MISTAKE
    assert "is taken" in outcome.err


@pytest.mark.parametrize("command", [("status",), ("predict", *SERIES), ("dead-letters", "list")])
def test_without_a_platform_a_command_says_how_to_start_one(
    run: Run, command: tuple[str, ...]
) -> None:
    outcome = run(*command, "--json")
    assert outcome.code == FAILED
    assert "finsight up" in outcome.err
    assert outcome.out == ""


def test_backfill_stores_a_history_once(run: Run, recorded: RecordedWorld) -> None:
    asked = ("backfill", *SERIES, "--since", "2025-12-01", "--json")
    first = run(*asked)
    assert first.code == 0
    assert first.json == {"series": "binance:BTC-USDT:1h", "candles": 300, "notes": []}
    assert run(*asked).json == {"series": "binance:BTC-USDT:1h", "candles": 0, "notes": []}


def test_backfill_fills_only_the_holes(run: Run, recorded: RecordedWorld) -> None:
    for since, until in (("2025-12-01", "2025-12-02"), ("2025-12-04", "2025-12-05")):
        assert run("backfill", *SERIES, "--since", since, "--until", until).code == 0
    filled = run("backfill", *SERIES, "--gaps", "--json")
    assert filled.json == {"series": "binance:BTC-USDT:1h", "candles": 48, "notes": []}


def test_backfill_never_stores_a_candle_that_has_not_closed(
    run: Run, recorded: RecordedWorld
) -> None:
    asked = ("backfill", *SERIES, "--since", "2025-12-13", "--until", "2026-01-01", "--json")
    assert run(*asked).json == {"series": "binance:BTC-USDT:1h", "candles": 12, "notes": []}


def test_collect_reports_each_and_fails_if_one_does(
    run: Run, recorded: RecordedWorld, tmp_path: Path
) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(
        f"""
applications:
  - name: finsight
    args:
      series:
        - {{exchange: binance, symbol: BTC/USDT, timeframe: 1h, since: "2025-12-01T00:00:00Z"}}
        - {{exchange: binance, symbol: NOPE/USDT, timeframe: 1h}}
      feeds:
        - {{name: market-notes, url: "{recorded.base_url}/feeds/market-notes"}}
"""
    )
    outcome = run("collect", "--config", str(config), "--json")
    assert outcome.code == FAILED
    rows = outcome.json
    assert isinstance(rows, list)
    assert [row["new"] for row in rows] == [300, 0, 20]
    assert "NOPE/USDT" in rows[1]["error"]
    assert rows[0]["error"] is None


def test_sentiment_needs_no_platform_and_takes_any_text(run: Run) -> None:
    scored = run("sentiment", "--json", stdin="Bitcoin surges to a record\n\n[/red] 比特币\n")
    assert scored.code == 0
    assert isinstance(scored.json, list)
    assert [row["text"] for row in scored.json] == ["Bitcoin surges to a record", "[/red] 比特币"]
    assert scored.json[0]["label"] == "positive"
    shown = run("sentiment", "[/red] Bitcoin [bold]")
    assert shown.code == 0
    assert "[/red] Bitcoin [bold]" in shown.out


def test_a_sentiment_is_explained_word_by_word(run: Run) -> None:
    made = run("sentiment", "--explain", "--json", "Regulator sues the exchange")
    assert made.code == 0
    [row] = made.json
    shares = {word["word"]: word["contribution"] for word in row["words"]}
    assert min(shares, key=shares.__getitem__) == "sues"
    shown = run("sentiment", "--explain", "Regulator sues the exchange")
    assert f"{shares['sues']:+.2f}" in shown.out
    assert "█" in shown.out


def test_doctor_names_what_is_broken_and_how_to_mend_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINSIGHT_REDIS_URL", "redis://:topsecret@127.0.0.1:1/0")
    monkeypatch.setenv("FINSIGHT_SENTIMENT__MODEL", "/nowhere/model")
    monkeypatch.setenv("COLUMNS", "60")
    outcome = run("doctor")
    assert outcome.code == FAILED
    assert "FINSIGHT_REDIS_URL" in outcome.out
    assert "there is no folder /nowhere/model" in outcome.out
    assert "topsecret" not in outcome.out + outcome.err
    findings = run("doctor", "--json").json
    assert isinstance(findings, list)
    assert {f["check"]: f["state"] for f in findings}["Events"] == "failed"


def test_secrets_are_never_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINSIGHT_REDIS_URL", "redis://:topsecret@127.0.0.1:1/0")
    monkeypatch.setenv("FINSIGHT_TAVILY_API_KEY", "topsecret")
    for arguments in (("settings",), ("settings", "--json"), ("collect", "--config", "/x")):
        outcome = run(*arguments)
        assert "topsecret" not in outcome.out + outcome.err
