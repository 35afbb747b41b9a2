"""How good a sentiment model is on texts whose labels are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.calibration import (
    AnswerRate,
    ReliabilityBin,
    answer_rates,
    calibration_error,
    reliability,
)
from finsight.domain.labelled_texts import CLASSES
from finsight.domain.sentiment import SentimentLabel


class ClassQuality(BaseModel):
    """One class: of those said to be it, how many are (precision); of those that are it,
    how many were found (recall); the harmonic mean of both (f1). Shares in [0, 1]."""

    model_config = ConfigDict(frozen=True)

    label: SentimentLabel
    texts: int = Field(ge=0)
    precision: float
    recall: float
    f1: float


class SentimentQuality(BaseModel):
    """A model's answers against the true labels.

    Units:
        accuracy, macro_f1: shares in [0, 1].
        calibration_error: the expected calibration error over 15 bins of confidence, in
            [0, 1]: how far, on average, the probability given is from the share right.
        confusion: a row a true class, a column an answered one, negative, neutral,
            positive; counts of texts.
        reliability: those bins, empty ones left out.
        answering: what giving no answer below a threshold would come to.
    """

    model_config = ConfigDict(frozen=True)

    texts: int = Field(ge=1)
    accuracy: float
    macro_f1: float
    calibration_error: float
    classes: tuple[ClassQuality, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    answering: tuple[AnswerRate, ...]


def judge_sentiment(
    labels: Sequence[SentimentLabel], probabilities: np.ndarray
) -> SentimentQuality:
    """Compare the most probable classes with `labels`.

    `probabilities` has shape (texts, 3): negative, neutral, positive. A class that
    neither the labels nor the answers hold is left out of the macro mean.
    """
    true = np.array([CLASSES.index(label) for label in labels])
    answered = probabilities.argmax(axis=1)
    confidence, right = probabilities.max(axis=1), true == answered
    bins = reliability(confidence, right)
    confusion = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    np.add.at(confusion, (true, answered), 1)
    classes = tuple(_judge_class(confusion, number) for number in range(len(CLASSES)))
    present = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return SentimentQuality(
        texts=len(true),
        accuracy=float(right.mean()),
        macro_f1=float(np.mean([c.f1 for c, here in zip(classes, present, strict=True) if here])),
        calibration_error=calibration_error(bins),
        classes=classes,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        reliability=bins,
        answering=answer_rates(confidence, right),
    )


def _judge_class(confusion: np.ndarray, number: int) -> ClassQuality:
    hits = int(confusion[number, number])
    said, are = int(confusion[:, number].sum()), int(confusion[number].sum())
    return ClassQuality(
        label=CLASSES[number],
        texts=are,
        precision=hits / said if said else 0.0,
        recall=hits / are if are else 0.0,
        f1=2 * hits / (said + are) if said + are else 0.0,
    )
