"""Judge a sentiment model on labelled texts it was not trained on.

    python -m finsight.training.evaluate_sentiment news.csv --fit-on valid.csv --json

Runs as it is under `ray job submit`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from finsight.domain.calibration import (
    AnswerRate,
    Calibration,
    answer_rate,
    calibrate,
    tempered,
    threshold_for,
)
from finsight.domain.errors import FinSightError, InvalidInput, NotFound
from finsight.domain.labelled_texts import (
    CLASSES,
    SEEN_FILE,
    LabelledText,
    parse_label_order,
    same_words,
    seen_mark,
)
from finsight.domain.promotion import CHALLENGER, CHAMPION
from finsight.domain.sentiment import SentimentLabel
from finsight.domain.sentiment_quality import SentimentQuality, judge_sentiment
from finsight.ports.models import SentimentModel
from finsight.settings import Settings
from finsight.training.sentiment_data import read_labelled_file, read_labelled_files
from finsight.training.sentiment_pictures import write_pictures
from finsight.wiring import load_sentiment_model, open_model_registry

KIND = "sentiment"
_AT_ONCE = 512


@dataclass(frozen=True)
class Asked:
    """What to judge, on what.

    `model` is a folder, a hub id or "compact"; `version` one of the registry, or an alias.
    With neither, what would serve is judged. On `fit_on` the temperature is fitted, and
    the threshold above which `accuracy` of the answers are right.
    """

    files: tuple[Path, ...]
    model: str | None = None
    version: str | None = None
    order: tuple[SentimentLabel, ...] | None = None
    fit_on: tuple[Path, ...] = ()
    accuracy: float | None = None


@dataclass(frozen=True)
class JudgedFile:
    """One file: as the model answers, and with the temperature fitted elsewhere.

    `seen` counts its texts that the model was trained or validated on, None where that is
    not known. `chosen` is what the chosen threshold comes to here.
    """

    quality: SentimentQuality
    seen: int | None
    calibrated: SentimentQuality | None = None
    chosen: AnswerRate | None = None


@dataclass(frozen=True)
class Evaluation:
    """A model judged, file by file.

    `left_out` counts the texts not fitted on because a judged file has the same words.
    """

    model: str
    version: str
    data: Mapping[str, JudgedFile]
    calibration: Calibration | None = None
    left_out: int = 0
    threshold: float | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "model": self.model,
            "version": self.version,
            "calibration": self.calibration.model_dump() if self.calibration else None,
            "threshold": self.threshold,
            "notes": list(self.notes),
            "data": {name: _document(judged) for name, judged in self.data.items()},
        }


def evaluate_sentiment(model: SentimentModel, texts: Sequence[LabelledText]) -> SentimentQuality:
    """Score `texts` as serving does and compare the answers with their labels."""
    return judge_sentiment([text.label for text in texts], answered_probabilities(model, texts))


def answered_probabilities(model: SentimentModel, texts: Sequence[LabelledText]) -> np.ndarray:
    """Return the model's negative, neutral and positive, a row a text."""
    rows: list[tuple[float, float, float]] = []
    for start in range(0, len(texts), _AT_ONCE):
        scores = model.score([text.text for text in texts[start : start + _AT_ONCE]])
        rows += [(score.negative, score.neutral, score.positive) for score in scores]
    return np.array(rows)


def judge_files(settings: Settings, asked: Asked) -> Evaluation:
    """Judge a model on every file of `asked`.

    All files are read before the model is, so that a wrong one is said at once.

    Raises: InvalidInput, NotFound (no such version), ModelUnavailable, StoreUnavailable.
    """
    if asked.accuracy is not None and not asked.fit_on:
        raise InvalidInput(
            "a threshold is chosen on texts that it is not judged on: name some with --fit-on"
        )
    data = {str(path): read_labelled_file(path, asked.order) for path in asked.files}
    judged_words = {same_words(text.text) for texts in data.values() for text in texts}
    given = read_labelled_files(asked.fit_on, asked.order)
    fitted = [text for text in given if same_words(text.text) not in judged_words]
    if given and not fitted:
        raise InvalidInput("every text of --fit-on stands in a judged file too; give others")
    model, folder = _open(settings, asked)
    seen = _seen_marks(folder)
    calibration, threshold = _fit(model, fitted, asked.accuracy) if fitted else (None, None)
    judged = {
        name: _judge(model, texts, seen, calibration, threshold) for name, texts in data.items()
    }
    left_out = len(given) - len(fitted)
    notes = _notes(judged, left_out)
    if asked.accuracy is not None and threshold is None:
        notes.append(f"no threshold is right on {asked.accuracy:.0%} of its answers on --fit-on")
    return Evaluation(
        model.name, model.version, judged, calibration, left_out, threshold, tuple(notes)
    )


def _open(settings: Settings, asked: Asked) -> tuple[SentimentModel, Path | None]:
    """Return the model, and its folder where it has one."""
    if asked.model is not None and asked.version is not None:
        raise InvalidInput("give a model or a version of the registry, not both")
    if asked.model is not None:
        folder = Path(asked.model).expanduser()
        return load_sentiment_model(settings, asked.model), folder if folder.is_dir() else None
    registry = open_model_registry(settings)
    fetched = settings.data_dir / "models"
    if asked.version is None:
        champion = registry.champion(KIND)
        model = load_sentiment_model(settings)
        return model, registry.fetch(champion, fetched) if champion else None
    if asked.version in (CHAMPION, CHALLENGER):
        reference = registry.holder(KIND, asked.version)
    else:
        versions = registry.versions(KIND)
        reference = next((one for one in versions if one.version == asked.version), None)
    if reference is None:
        raise NotFound(f"there is no {asked.version} among the registry's sentiment models")
    folder = registry.fetch(reference, fetched)
    return load_sentiment_model(settings, str(folder)), folder


def _seen_marks(folder: Path | None) -> frozenset[str] | None:
    """What the model in `folder` was trained on, None where it doesn't say."""
    path = folder / SEEN_FILE if folder else None
    if path is None or not path.is_file():
        return None
    return frozenset(path.read_text().split())


def _fit(
    model: SentimentModel, texts: Sequence[LabelledText], accuracy: float | None
) -> tuple[Calibration, float | None]:
    labels = [text.label for text in texts]
    rows = answered_probabilities(model, texts)
    calibration = calibrate(labels, rows)
    if accuracy is None:
        return calibration, None
    return calibration, threshold_for(accuracy, labels, tempered(rows, calibration.temperature))


def _judge(
    model: SentimentModel,
    texts: Sequence[LabelledText],
    seen: frozenset[str] | None,
    calibration: Calibration | None,
    threshold: float | None,
) -> JudgedFile:
    labels = [text.label for text in texts]
    rows = answered_probabilities(model, texts)
    known = None if seen is None else sum(seen_mark(text.text) in seen for text in texts)
    quality = judge_sentiment(labels, rows)
    if calibration is None:
        return JudgedFile(quality, known)
    corrected = tempered(rows, calibration.temperature)
    right = corrected.argmax(axis=1) == [CLASSES.index(label) for label in labels]
    chosen = None if threshold is None else answer_rate(corrected.max(axis=1), right, threshold)
    return JudgedFile(quality, known, judge_sentiment(labels, corrected), chosen)


def _notes(data: Mapping[str, JudgedFile], left_out: int) -> list[str]:
    notes = [
        f"{judged.seen} of the {judged.quality.texts} texts of {Path(name).name} were trained or "
        "validated on: its figures flatter the model"
        for name, judged in data.items()
        if judged.seen
    ]
    if left_out:
        notes.append(f"{left_out} texts of --fit-on were not fitted on: a judged file has them too")
    return notes


def _document(judged: JudgedFile) -> dict[str, Any]:
    return judged.quality.model_dump() | {
        "seen": judged.seen,
        "calibrated": judged.calibrated.model_dump() if judged.calibrated else None,
        "at_threshold": judged.chosen.model_dump() if judged.chosen else None,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, 1 with the reason on standard error, or 2: the caller's mistake."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="labelled texts")
    parser.add_argument("--model", help="compact, a folder or a hub id; unset: what would serve")
    parser.add_argument("--version", help="of the registry: a number, champion or challenger")
    parser.add_argument("--labels", help="what 0, 1, 2 mean: negative,neutral,positive")
    parser.add_argument("--fit-on", nargs="+", type=Path, default=[], help="to calibrate on")
    parser.add_argument("--accuracy", type=float, help="find the threshold that reaches it")
    parser.add_argument("--pictures", type=Path, help="a folder for PNG pictures")
    parser.add_argument("--data-dir", type=Path, help="where the platform keeps its data")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    try:
        evaluation = judge_files(
            Settings.load({"data_dir": given.data_dir} if given.data_dir else None),
            Asked(
                files=tuple(given.files),
                model=given.model,
                version=given.version,
                order=parse_label_order(given.labels) if given.labels else None,
                fit_on=tuple(given.fit_on),
                accuracy=given.accuracy,
            ),
        )
        if given.pictures:
            write_pictures(evaluation.data, given.pictures)
    except (FinSightError, OSError) as exc:
        print(f"judging failed: {exc}", file=sys.stderr)
        return 2 if isinstance(exc, InvalidInput | NotFound) else 1
    if given.json:
        print(json.dumps(evaluation.document()))
        return 0
    print(f"{evaluation.model}, version {evaluation.version}")
    for name, judged in evaluation.data.items():
        quality, mended = judged.quality, judged.calibrated
        after = f" ({mended.calibration_error:.4f} calibrated)" if mended else ""
        print(
            f"{name}: {quality.texts} texts, accuracy {quality.accuracy:.4f}, macro-F1 "
            f"{quality.macro_f1:.4f}, calibration error {quality.calibration_error:.4f}{after}"
        )
    print("\n".join(evaluation.notes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
