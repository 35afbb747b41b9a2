"""Pictures of how good a sentiment model is, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from finsight.domain.calibration import ReliabilityBin
from finsight.domain.labelled_texts import CLASSES
from finsight.domain.sentiment_quality import SentimentQuality

if TYPE_CHECKING:
    from finsight.training.evaluate_sentiment import JudgedFile

_DOTS_AN_INCH = 120
_DARK = 0.6


def confusion_picture(title: str, quality: SentimentQuality) -> bytes:
    """A row a true class, a column an answered one; coloured by the share of the row."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    sums = [max(sum(row), 1) for row in quality.confusion]
    shares = [[n / total for n in row] for row, total in zip(quality.confusion, sums, strict=True)]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [str(label) for label in CLASSES]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    for row, counts in enumerate(quality.confusion):
        for column, count in enumerate(counts):
            share = shares[row][column]
            colour = "white" if share > _DARK else "black"
            words = f"{count:,}\n{share:.0%}"
            axes.text(column, row, words, ha="center", va="center", color=colour)
    axes.set_title(f"{title}: accuracy {quality.accuracy:.3f}, macro-F1 {quality.macro_f1:.3f}")
    return _png(figure)


def reliability_picture(title: str, lines: Mapping[str, Sequence[ReliabilityBin]]) -> bytes:
    """How often answers were right against how sure they were; on the diagonal is honest.

    A line a name, such as before and after the temperature; below it, of how many texts.
    """
    figure = Figure(figsize=(4.8, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([1 / 3, 1], [1 / 3, 1], color="grey", linestyle=":", label="honest")
    for number, (name, bins) in enumerate(lines.items()):
        sure = [one.confidence for one in bins]
        colour = f"C{number}"
        above.plot(sure, [one.accuracy for one in bins], marker="o", color=colour, label=name)
        below.plot(sure, [one.texts for one in bins], marker=".", color=colour)
    above.set_ylabel("share right")
    above.set_ylim(0, 1.02)
    above.legend(loc="upper left")
    above.set_title(title)
    below.set_ylabel("texts")
    below.set_xlabel("probability of the answer")
    return _png(figure)


def history_picture(history: Mapping[str, Sequence[float]]) -> bytes:
    """One panel a measure, epoch by epoch."""
    figure = Figure(figsize=(3.6 * len(history), 3.2), layout="constrained")
    panels = figure.subplots(1, len(history), squeeze=False)[0]
    for axes, (name, values) in zip(panels, history.items(), strict=True):
        axes.plot(range(1, len(values) + 1), values, marker="o")
        axes.set_title(name.removeprefix("epoch_").replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _png(figure)


def write_pictures(data: Mapping[str, JudgedFile], folder: Path) -> list[Path]:
    """Write each file's confusions and reliability into `folder` as PNG; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, judged in data.items():
        stem, shown = Path(name).stem, judged.calibrated or judged.quality
        lines = {f"as it answers ({judged.quality.calibration_error:.3f})": judged.quality}
        if judged.calibrated:
            error = judged.calibrated.calibration_error
            lines[f"calibrated ({error:.3f})"] = judged.calibrated
        pictures = {
            f"confusion-{stem}.png": confusion_picture(stem, shown),
            f"reliability-{stem}.png": reliability_picture(
                stem, {line: quality.reliability for line, quality in lines.items()}
            ),
        }
        for file, png in pictures.items():
            (folder / file).write_bytes(png)
            written.append(folder / file)
    return written


def _png(figure: Figure) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=_DOTS_AN_INCH)
    return target.getvalue()
