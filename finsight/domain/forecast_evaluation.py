"""How far forecasts were from what happened, step by step, for many origins at once.

Shapes: quantiles are (origins, horizon, len(QUANTILES)), truth is (origins, horizon), all in
quote currency. Every loss is divided by how far the price typically moves in one candle, so
that coins, and times, can be averaged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from finsight.domain.errors import InvalidInput
from finsight.domain.forecast import QUANTILES

LOW_95, LOW_80, MEDIAN, HIGH_80, HIGH_95 = range(len(QUANTILES))


class Scale(NamedTuple):
    """How far the close typically moved in one candle before each origin, shape (origins,).

    `absolute` is the mean absolute change, `square` the mean squared one.
    """

    absolute: np.ndarray
    square: np.ndarray


class StepLosses(NamedTuple):
    """The losses of one forecaster, shape (origins, horizon) each.

    absolute: |y - median| / scale. Its mean is MASE, the mean absolute scaled error
        (Hyndman and Koehler 2006, "Another look at measures of forecast accuracy").
    square: (y - median)^2 / squared scale. The root of its mean is RMSSE, the root mean
        squared scaled error (same source).
    pinball: mean over the quantiles q of max(q * e, (q - 1) * e) / scale, where e is y minus
        the quantile (Koenker and Bassett 1978). Twice the mean is the weighted interval score
        of Bracher et al. (2021), which stands in for the CRPS.
    inside_80, inside_95: 1 where the interval holds y, else 0. The mean is its coverage.
    width_80, width_95: high minus low, over scale. Narrow is good only where coverage is right.
    """

    absolute: np.ndarray
    square: np.ndarray
    pinball: np.ndarray
    inside_80: np.ndarray
    inside_95: np.ndarray
    width_80: np.ndarray
    width_95: np.ndarray


class OriginLosses(NamedTuple):
    """What two forecasters lost at each origin, mean over its steps, shape (origins,) each.

    `mase` and `naive_mase`, or the pinball losses, are what `diebold_mariano` compares.
    """

    mase: np.ndarray
    naive_mase: np.ndarray
    pinball: np.ndarray
    naive_pinball: np.ndarray


def scale_of(histories: np.ndarray) -> Scale:
    """The scale of each row of closes before an origin, shape (origins, history).

    A price that never moved has no scale: its rows are nan.
    """
    changes = np.diff(histories, axis=1)
    absolute, square = np.abs(changes).mean(axis=1), (changes**2).mean(axis=1)
    still = absolute <= 0
    return Scale(np.where(still, np.nan, absolute), np.where(still, np.nan, square))


def step_losses(quantiles: np.ndarray, truth: np.ndarray, scale: Scale) -> StepLosses:
    """Hold forecasts against what happened. Raises: InvalidInput (shapes that don't fit)."""
    if quantiles.shape != (*truth.shape, len(QUANTILES)) or scale.absolute.shape != truth.shape[:1]:
        raise InvalidInput(
            f"forecasts of shape {quantiles.shape} don't fit {truth.shape} closes "
            f"and {scale.absolute.shape} scales"
        )
    unit, square_unit = scale.absolute[:, None], scale.square[:, None]
    error = truth[:, :, None] - quantiles
    levels = np.array(QUANTILES)
    pinball = np.maximum(levels * error, (levels - 1) * error).mean(axis=2)
    return StepLosses(
        absolute=np.abs(error[:, :, MEDIAN]) / unit,
        square=error[:, :, MEDIAN] ** 2 / square_unit,
        pinball=pinball / unit,
        inside_80=_inside(error, LOW_80, HIGH_80),
        inside_95=_inside(error, LOW_95, HIGH_95),
        width_80=(quantiles[:, :, HIGH_80] - quantiles[:, :, LOW_80]) / unit,
        width_95=(quantiles[:, :, HIGH_95] - quantiles[:, :, LOW_95]) / unit,
    )


def origin_losses(
    quantiles: np.ndarray, naive: np.ndarray, truth: np.ndarray, scale: Scale
) -> OriginLosses:
    """What a forecaster and naive (both as quantiles) lost at each origin.

    Raises: InvalidInput (shapes that don't fit).
    """
    ours, theirs = step_losses(quantiles, truth, scale), step_losses(naive, truth, scale)
    return OriginLosses(
        mase=ours.absolute.mean(axis=1),
        naive_mase=theirs.absolute.mean(axis=1),
        pinball=ours.pinball.mean(axis=1),
        naive_pinball=theirs.pinball.mean(axis=1),
    )


def directions(median: np.ndarray, truth: np.ndarray, last: np.ndarray) -> np.ndarray:
    """1 where the close moved from `last` the way `median` said, 0 where it moved the other.

    `median` and `truth` have one shape, `last` shape (origins,). nan where either stood still.
    """
    start = last.reshape(-1, *[1] * (truth.ndim - 1))
    said, moved = np.sign(median - start), np.sign(truth - start)
    return np.where((said == 0) | (moved == 0), np.nan, (said == moved).astype(np.float64))


def _inside(error: np.ndarray, low: int, high: int) -> np.ndarray:
    return ((error[:, :, low] >= 0) & (error[:, :, high] <= 0)).astype(np.float64)
