"""How sure a sentiment model may be: reliability, temperature, and when to give no answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import optimize

from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import CLASSES
from finsight.domain.sentiment import SentimentLabel

CALIBRATION_FILE = "calibration.json"
"""Where a model's folder keeps its `Calibration`."""

_BINS = 15
_THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_COOLEST, _HOTTEST = 0.5, 10.0
_FEWEST_ANSWERED = 20
_LEAST = 1e-12


class ReliabilityBin(BaseModel):
    """The texts whose most probable class got about this probability.

    `confidence` is its mean, `accuracy` the share of these texts that it was right on.
    """

    model_config = ConfigDict(frozen=True)

    confidence: float
    accuracy: float
    texts: int = Field(ge=1)


class AnswerRate(BaseModel):
    """What comes of answering only where the model is at least `threshold` sure.

    `coverage` is the share of texts answered, `accuracy` the share of those that is right
    (None when none is answered).
    """

    model_config = ConfigDict(frozen=True)

    threshold: float
    coverage: float
    accuracy: float | None


class Calibration(BaseModel):
    """What a model's probabilities are corrected by, and on how many texts that was fitted.

    A `temperature` above 1 makes a model less sure, one below 1 surer; the order of its
    classes stays. `error_before` and `error_after` are calibration errors on those texts.
    """

    model_config = ConfigDict(frozen=True)

    temperature: float = Field(ge=_COOLEST, le=_HOTTEST)
    texts: int = Field(ge=1)
    error_before: float
    error_after: float


def reliability(confidence: np.ndarray, right: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """Sort answers into 15 bins of confidence, equally wide; empty ones are left out."""
    numbers = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return tuple(
        ReliabilityBin(
            confidence=float(confidence[numbers == number].mean()),
            accuracy=float(right[numbers == number].mean()),
            texts=int((numbers == number).sum()),
        )
        for number in np.unique(numbers)
    )


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """The expected calibration error: the mean gap of confidence and accuracy, in [0, 1]."""
    texts = sum(one.texts for one in bins)
    return sum(one.texts * abs(one.accuracy - one.confidence) for one in bins) / texts


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return rows of `probabilities` as a softmax at `temperature` would have given them."""
    raised = np.maximum(probabilities, _LEAST) ** (1.0 / temperature)
    sums: np.ndarray = raised / raised.sum(axis=-1, keepdims=True)
    return sums


def calibrate(labels: Sequence[SentimentLabel], probabilities: np.ndarray) -> Calibration:
    """Fit the temperature under which `labels` are most probable (Guo et al. 2017).

    Give it texts that the model did not learn from. It stays within 0.5 and 10: on a few
    texts that are all answered right, no certainty would be certain enough.
    """
    classes = _numbers(labels)

    def surprise(log_temperature: float) -> float:
        rows = tempered(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(rows[np.arange(len(classes)), classes]).mean())

    bounds = (np.log(_COOLEST), np.log(_HOTTEST))
    found = optimize.minimize_scalar(surprise, bounds=bounds, method="bounded")
    temperature = float(np.clip(np.exp(found.x), _COOLEST, _HOTTEST))
    return Calibration(
        temperature=temperature,
        texts=len(classes),
        error_before=_error(classes, probabilities),
        error_after=_error(classes, tempered(probabilities, temperature)),
    )


def answer_rates(confidence: np.ndarray, right: np.ndarray) -> tuple[AnswerRate, ...]:
    """What answering only above each of a few thresholds comes to."""
    return tuple(answer_rate(confidence, right, threshold) for threshold in _THRESHOLDS)


def answer_rate(confidence: np.ndarray, right: np.ndarray, threshold: float) -> AnswerRate:
    answered = confidence >= threshold
    return AnswerRate(
        threshold=threshold,
        coverage=float(answered.mean()),
        accuracy=float(right[answered].mean()) if answered.any() else None,
    )


def threshold_for(
    accuracy: float, labels: Sequence[SentimentLabel], probabilities: np.ndarray
) -> float | None:
    """Return the lowest threshold above which `accuracy` of the answers are right.

    None where no threshold reaches it on at least 20 texts. Choose it on texts that it
    is not judged on.

    Raises: InvalidInput (no share).
    """
    if not 0 < accuracy < 1:
        raise InvalidInput(f"the accuracy wished for is {accuracy}; expected above 0, below 1")
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == _numbers(labels)
    order = np.argsort(-confidence, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Equally sure answers are given together or not at all.
    last = np.append(confidence[order][1:] < confidence[order][:-1], True)
    enough = np.arange(1, len(order) + 1) >= _FEWEST_ANSWERED
    reached = np.flatnonzero((shares >= accuracy) & last & enough)
    return float(confidence[order][reached[-1]]) if len(reached) else None


def _error(classes: np.ndarray, probabilities: np.ndarray) -> float:
    right = probabilities.argmax(axis=1) == classes
    return calibration_error(reliability(probabilities.max(axis=1), right))


def _numbers(labels: Sequence[SentimentLabel]) -> np.ndarray:
    return np.array([CLASSES.index(label) for label in labels])
