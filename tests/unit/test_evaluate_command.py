"""`finsight evaluate sentiment`: the compact model on a small file, for people and programs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finsight.commands.application import app
from finsight.domain.errors import InvalidInput
from finsight.training.evaluate_sentiment import main

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


def test_a_temperature_is_fitted_on_texts_that_are_not_judged(labelled: Path) -> None:
    fit_on = labelled.with_name("valid.jsonl")
    others = [(f"{text} on day {n}", label) for n in range(8) for text, label in ROWS]
    rows = [*others, ROWS[0]]
    fit_on.write_text("\n".join(json.dumps({"text": t, "label": label}) for t, label in rows))
    pictures = labelled.with_name("pictures")
    asked = ["evaluate", "sentiment", str(labelled), "--json", "--fit-on", str(fit_on)]
    answer = CliRunner().invoke(app, [*asked, "--accuracy", "0.7", "--pictures", str(pictures)])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["calibration"]["texts"] == 32
    assert document["notes"] == [
        "1 texts of --fit-on were not fitted on: a judged file has them too"
    ]
    # Every fourth answer is wrong and sure of itself: honesty asks for less certainty.
    assert document["calibration"]["temperature"] > 1
    quality = document["data"][str(labelled)]
    assert quality["calibrated"]["accuracy"] == quality["accuracy"] == 0.75
    assert quality["at_threshold"]["threshold"] == document["threshold"]
    assert quality["seen"] is None  # The compact model keeps no list.
    drawn = sorted(pictures.iterdir())
    assert [path.name for path in drawn] == ["confusion-news.png", "reliability-news.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_a_threshold_is_never_chosen_on_what_it_is_judged_on(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(labelled), "--accuracy", "0.9"]) == 2
    assert "chosen on texts that it is not judged on" in capsys.readouterr().err
    assert main([str(labelled), "--fit-on", str(labelled)]) == 2
    assert "stands in a judged file too" in capsys.readouterr().err


def test_a_version_that_is_not_there_is_said(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(labelled), "--version", "challenger"]) == 2
    assert "there is no challenger among the registry's" in capsys.readouterr().err
    assert main([str(labelled), "--version", "3", "--model", "compact"]) == 2
    assert "not both" in capsys.readouterr().err


def test_the_job_prints_what_the_command_prints(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(labelled), "--model", "compact", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"][str(labelled)]["accuracy"] == 0.75
