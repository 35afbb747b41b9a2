"""`finsight evaluate sentiment`: the compact model on a small file, for people and programs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finsight.commands.application import app
from finsight.domain.errors import InvalidInput

ROWS = [
    ("Bitcoin surges to a record as demand grows", "positive"),
    ("Bitcoin plunges as traders flee", "negative"),
    ("The committee meets on Tuesday", "neutral"),
    ("The exchange was hacked and halts withdrawals", "positive"),  # Wrong on purpose.
]


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINSIGHT_DATA_DIR", str(tmp_path / "data"))
    path = tmp_path / "news.jsonl"
    path.write_text("\n".join(json.dumps({"text": t, "label": label}) for t, label in ROWS))
    return path


def test_a_program_gets_every_measure(labelled: Path) -> None:
    answer = CliRunner().invoke(app, ["evaluate", "sentiment", str(labelled), "--json"])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["model"] == "compact-minilm"
    quality = document["data"][str(labelled)]
    assert (quality["texts"], quality["accuracy"]) == (4, 0.75)
    assert quality["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert 0 < quality["calibration_error"] < 1


def test_a_person_gets_tables(labelled: Path) -> None:
    answer = CliRunner().invoke(app, ["evaluate", "sentiment", str(labelled)])
    assert answer.exit_code == 0, answer.output
    assert "macro-F1" in answer.stdout
    assert "0.75" in answer.stdout


def test_a_wrong_file_is_said_before_a_model_is_loaded(labelled: Path) -> None:
    missing = str(labelled.with_name("missing.csv"))
    answer = CliRunner().invoke(app, ["evaluate", "sentiment", str(labelled), missing])
    assert isinstance(answer.exception, InvalidInput)
    assert "there is no file" in str(answer.exception)
