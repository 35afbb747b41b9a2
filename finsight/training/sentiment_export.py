"""What a trained sentiment model still needs before it may serve: its graph, its temperature.

Both are measured: what int8 costs, and how far off the probabilities were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finsight.domain.calibration import CALIBRATION_FILE, Calibration, calibrate, tempered
from finsight.domain.labelled_texts import SEEN_FILE, LabelledText, Splits, seen_mark
from finsight.domain.sentiment_quality import SentimentQuality, judge_sentiment
from finsight.settings import Settings
from finsight.training.evaluate_sentiment import answered_probabilities
from finsight.training.sentiment_pictures import confusion_picture, reliability_picture
from finsight.wiring import (
    export_sentiment_model,
    load_sentiment_model,
    load_unrounded_sentiment_model,
)


@dataclass(frozen=True)
class Judged:
    """One part of the data, judged as it is served: before and after the temperature."""

    before: SentimentQuality
    after: SentimentQuality


@dataclass(frozen=True)
class ExportedSentiment:
    """A model as it will serve, judged.

    `full_precision` judges the validation part before anything was rounded; `int8` says
    whether it serves rounded on CPUs. `parts` are "valid" and, if there is one, "test".
    """

    int8: bool
    full_precision: SentimentQuality
    calibration: Calibration
    parts: Mapping[str, Judged]

    @property
    def int8_costs_points(self) -> float:
        """Percentage points of validation accuracy; negative where rounding won some."""
        return 100 * (self.full_precision.accuracy - self.parts["valid"].after.accuracy)

    @property
    def metrics(self) -> dict[str, float]:
        """What the registry keeps."""
        metrics = {
            "valid_accuracy_fp32": self.full_precision.accuracy,
            "valid_macro_f1_fp32": self.full_precision.macro_f1,
            "temperature": self.calibration.temperature,
        }
        if self.int8:
            metrics["int8_costs_points"] = self.int8_costs_points
        for part, judged in self.parts.items():
            metrics |= {
                f"{part}_accuracy": judged.after.accuracy,
                f"{part}_macro_f1": judged.after.macro_f1,
                f"{part}_calibration_error": judged.after.calibration_error,
                f"{part}_calibration_error_before": judged.before.calibration_error,
            }
        return metrics

    @property
    def pictures(self) -> dict[str, bytes]:
        """PNG files by name."""
        drawn = {}
        for part, judged in self.parts.items():
            lines = {
                f"as trained ({judged.before.calibration_error:.3f})": judged.before.reliability,
                f"as served ({judged.after.calibration_error:.3f})": judged.after.reliability,
            }
            drawn[f"confusion-{part}.png"] = confusion_picture(part, judged.after)
            drawn[f"reliability-{part}.png"] = reliability_picture(part, lines)
        return drawn


def export_sentiment(
    settings: Settings, folder: Path, splits: Splits, earlier: Sequence[LabelledText] = ()
) -> ExportedSentiment:
    """Make the model in `folder` ready to serve, and judge it as it will be served.

    Writes the int8 graph, the temperature that the validation part asks for, and which
    labelled texts the model has seen, `earlier` ones too.

    Raises: ModelUnavailable.
    """
    threads = settings.sentiment.threads
    labels = {
        "valid": [text.label for text in splits.valid],
        "test": [text.label for text in splits.test],
    }
    int8 = export_sentiment_model(folder)
    unrounded = answered_probabilities(
        load_unrounded_sentiment_model(folder, threads), splits.valid
    )
    # On the CPU, whatever else this machine has: there int8 is what serves.
    on_cpu = settings.sentiment.model_copy(update={"device": "cpu"})
    served = load_sentiment_model(
        settings.model_copy(update={"sentiment": on_cpu}), demanded=str(folder)
    )
    rows = {"valid": answered_probabilities(served, splits.valid)}
    if splits.test:
        rows["test"] = answered_probabilities(served, splits.test)
    calibration = calibrate(labels["valid"], rows["valid"])
    (folder / CALIBRATION_FILE).write_text(calibration.model_dump_json(indent=2) + "\n")
    marks = sorted({seen_mark(text.text) for text in (*splits.train, *splits.valid, *earlier)})
    (folder / SEEN_FILE).write_text("\n".join(marks) + "\n")
    return ExportedSentiment(
        int8,
        judge_sentiment(labels["valid"], unrounded),
        calibration,
        {
            part: Judged(
                judge_sentiment(labels[part], answers),
                judge_sentiment(labels[part], tempered(answers, calibration.temperature)),
            )
            for part, answers in rows.items()
        },
    )
