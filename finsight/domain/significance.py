"""Whether one model is really better than another, or was lucky."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from finsight.domain.errors import InvalidInput

FEWEST = 8
"""Pairs of losses below which no test says anything."""


class Comparison(NamedTuple):
    """A one-sided test of "the first is better than the second".

    `difference` is the mean of first minus second: negative where the first lost less.
    """

    statistic: float
    p_value: float
    difference: float
    pairs: int


def diebold_mariano(first: np.ndarray, second: np.ndarray, horizon: int) -> Comparison:
    """Compare the losses of two forecasters over the same origins, oldest first.

    Diebold and Mariano (1995), "Comparing predictive accuracy", with the correction for
    small samples of Harvey, Leybourne and Newbold (1997). `horizon` is how many origins
    one forecast spans: errors so far apart overlap, so that many autocovariances are
    summed (Bartlett weights keep the variance positive). One number a origin: losses of
    several steps or series are averaged before.

    Raises:
        InvalidInput: shapes that differ, fewer than `FEWEST` origins, losses not finite.
    """
    _check(first, second)
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    count, mean = len(differences), float(differences.mean())
    overlap = min(max(horizon, 1), count - 1)
    centred = differences - mean
    variance = float(centred @ centred) / count
    for lag in range(1, overlap):
        weight = 1 - lag / overlap
        variance += 2 * weight * float(centred[lag:] @ centred[:-lag]) / count
    if variance <= 0:
        # Every origin the same: either no difference at all, or one without any doubt.
        return Comparison(0.0, 0.5 if mean == 0 else float(mean > 0), mean, count)
    small = (count + 1 - 2 * overlap + overlap * (overlap - 1) / count) / count
    statistic = mean / math.sqrt(variance / count) * math.sqrt(max(small, 1 / count))
    return Comparison(statistic, float(stats.t.cdf(statistic, count - 1)), mean, count)


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> Comparison:
    """Compare which texts two classifiers had right: McNemar (1947), in its exact form.

    Only texts that one had right and the other wrong count. `difference` is the first's
    share of wrong answers minus the second's.

    Raises: InvalidInput (shapes that differ, fewer than `FEWEST` texts).
    """
    _check(first_right, second_right)
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    differing = only_first + only_second
    p_value = (
        float(stats.binomtest(only_first, differing, alternative="greater").pvalue)
        if differing
        else 1.0
    )
    difference = float(second.mean() - first.mean())
    return Comparison(float(only_first - only_second), p_value, difference, len(first))


def _check(first: np.ndarray, second: np.ndarray) -> None:
    if np.shape(first) != np.shape(second) or np.ndim(first) != 1:
        raise InvalidInput(
            f"two models are compared on the same cases, one number each; got shapes "
            f"{np.shape(first)} and {np.shape(second)}"
        )
    if len(first) < FEWEST:
        raise InvalidInput(f"{len(first)} cases are too few to compare on; {FEWEST} are needed")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InvalidInput("a loss is not a finite number: there is nothing to compare")
