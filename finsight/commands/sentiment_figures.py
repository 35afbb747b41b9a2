"""How sentiment figures are shown to a person: a model judged, a score explained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from finsight.commands.show import console, print_table
from finsight.domain.sentiment_quality import SentimentQuality

if TYPE_CHECKING:
    from finsight.training.evaluate_sentiment import Evaluation

_WORDS_SHOWN = 8
_MATTERS, _TINY = 0.2, 0.005
_BAR = 20


def print_evaluation(evaluation: Evaluation) -> None:
    """Tables: the files side by side, then each one's classes and what abstaining brings."""
    console.print(f"{evaluation.model}, version {evaluation.version}")
    fitted = evaluation.calibration
    print_table(
        "data sets (ECE: expected calibration error)",
        (
            "file",
            "texts",
            "accuracy",
            "macro-F1",
            "ECE",
            *(("ECE calibrated",) if fitted else ()),
        ),
        [
            (
                Path(name).name,
                judged.quality.texts,
                *_rounded(
                    judged.quality.accuracy,
                    judged.quality.macro_f1,
                    judged.quality.calibration_error,
                ),
                *(_rounded(judged.calibrated.calibration_error) if judged.calibrated else ()),
            )
            for name, judged in evaluation.data.items()
        ],
    )
    if fitted:
        console.print(
            f"temperature {fitted.temperature:.3f}, fitted on {fitted.texts} texts "
            f"(calibration error there {fitted.error_before:.4f}, then {fitted.error_after:.4f})"
        )
    for name, judged in evaluation.data.items():
        _print_classes(Path(name).name, judged.quality)
        _print_abstaining(Path(name).name, judged.calibrated or judged.quality)
        if judged.chosen is not None and judged.chosen.accuracy is not None:
            chosen = judged.chosen
            console.print(
                f"above {chosen.threshold:.3f} it answers {chosen.coverage:.1%} of the texts and "
                f"{chosen.accuracy:.1%} of these rightly"
            )
    for note in evaluation.notes:
        console.print(f"[yellow]{note}[/]")


def print_words(text: str, score: Mapping[str, Any]) -> None:
    """The text with its words coloured by what they say, then a bar for each that matters."""
    words = score["words"]
    most = max((abs(word["contribution"]) for word in words), default=0.0)
    coloured = Text(text)
    for word in words:
        if abs(word["contribution"]) >= max(_MATTERS * most, _TINY):
            coloured.stylize(_colour(word["contribution"]), word["start"], word["end"])
    console.print()
    console.print(coloured)
    shown = sorted(words, key=lambda word: -abs(word["contribution"]))[:_WORDS_SHOWN]
    print_table(
        "",
        ("word", "adds", ""),
        [
            (word["word"], f"{word['contribution']:+.2f}", _bar(word["contribution"], most))
            for word in shown
            if abs(word["contribution"]) >= _TINY
        ]
        + [("(no words)", f"{score['base']:+.2f}", ""), ("score", f"{score['score']:+.2f}", "")],
    )


def _bar(contribution: float, most: float) -> Text:
    return Text("█" * round(_BAR * abs(contribution) / most), style=_colour(contribution))


def _colour(contribution: float) -> str:
    return "green" if contribution > 0 else "red"


def _print_classes(name: str, quality: SentimentQuality) -> None:
    """One table: per class its measures, and how its texts were answered."""
    said = [f"said {str(row.label)[:3]}" for row in quality.classes]
    print_table(
        name,
        ("class", "texts", "precision", "recall", "F1", *said),
        [
            (str(row.label), row.texts, *_rounded(row.precision, row.recall, row.f1), *counts)
            for row, counts in zip(quality.classes, quality.confusion, strict=True)
        ],
    )


def _print_abstaining(name: str, quality: SentimentQuality) -> None:
    print_table(
        f"{name}: where it answers only when sure",
        ("at least", "texts answered", "right of these"),
        [
            (
                f"{rate.threshold:.2f}",
                f"{rate.coverage:.1%}",
                "-" if rate.accuracy is None else f"{rate.accuracy:.1%}",
            )
            for rate in quality.answering
        ],
    )


def _rounded(*shares: float) -> tuple[float, ...]:
    return tuple(round(share, 4) for share in shares)
