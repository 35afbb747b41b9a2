"""A forecaster whose intervals are as wide as its past errors say they must be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import NamedTuple

import numpy as np

from finsight.domain.forecast import QUANTILES
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import Forecaster, ForecastInput

PAST_FORECASTS = 116
"""About how many past forecasts intervals are read from, spread over all closes given."""

FEWEST = 20
"""Horizons of past below which a model's own intervals are left as they are."""

_MEDIAN = QUANTILES.index(0.5)
_PAIRS = ((0, 4, 0.95), (1, 3, 0.80))  # low and high quantile of an interval, and what it holds
_LEAST_OFFSET = 1e-9  # in log returns: an interval of no width divides by this instead
_REMEMBERED = 512
_AT_ONCE = 4096  # past windows in one pass of the model


class _Past(NamedTuple):
    """The past origins of one request: rows of its closes, oldest first."""

    closes: np.ndarray
    rows: np.ndarray


class ConformalForecaster:
    """Implements `ports.models.Forecaster` over another one, whose medians stay.

    For each input it forecasts again from past origins, spread over the closes given and all
    so old that the last close they forecast is among them: every error used had closed. Each
    step's error is measured in units of what the model said then, the distance from its
    median to the end of the interval on that side. The interval now is stretched by the
    quantile of those ratios that would have been right: split conformal prediction (Vovk,
    Gammerman and Shafer 2005; Lei et al. 2018) with its correction for a finite sample, the
    errors normalised as in Romano, Patterson and Candès (2019), over a window that moves on
    with the origin, as errors of prices don't stay alike (compare Gibbs and Candès 2021).

    All past forecasts of a batch go through the model together. What came of them is
    remembered, so that the same closes cost it once.
    """

    def __init__(self, model: Forecaster) -> None:
        self.model = model
        self._stretches: dict[bytes, np.ndarray] = {}
        self._remembering = Lock()

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def version(self) -> str:
        return self.model.version

    @property
    def timeframe(self) -> Timeframe | None:
        return self.model.timeframe

    @property
    def trained_on(self) -> frozenset[str]:
        return self.model.trained_on

    @property
    def min_history(self) -> int:
        return self.model.min_history

    @property
    def max_horizon(self) -> int:
        return self.model.max_horizon

    def __getstate__(self) -> dict[str, object]:
        # It crosses to workers; locks don't.
        return {"model": self.model}

    def __setstate__(self, state: dict[str, Forecaster]) -> None:
        self.__init__(state["model"])  # type: ignore[misc]

    def remark(self, request: ForecastInput) -> str | None:
        """Say it where the closes are too few to calibrate on, or None where they do."""
        if len(self._past_rows(len(request.closes))):
            return None
        needed = self.min_history + (FEWEST + 1) * self.max_horizon
        return (
            f"its intervals are its own: {needed} candles are needed to calibrate them on past "
            f"errors, there are {len(request.closes)}"
        )

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        """As the port."""
        paths = self.model.forecast(inputs)
        stretches = self._stretches_of(inputs)
        return [
            path
            if stretch is None or not (path > 0).all()
            else _stretched(path, stretch[: len(path)])
            for path, stretch in zip(paths, stretches, strict=True)
        ]

    def _past_rows(self, closes: int) -> np.ndarray:
        """Return the rows of past origins among so many closes, oldest first; none if too few."""
        first, last = self.min_history - 1, closes - 1 - self.max_horizon
        if last - first < FEWEST * self.max_horizon:
            return np.empty(0, dtype=np.int64)
        return np.arange(last, first - 1, -max(1, (last - first) // PAST_FORECASTS))[::-1]

    def _stretches_of(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray | None]:
        """Return, per input, by what to multiply: shape (max_horizon, intervals)."""
        keys = [_key(one) for one in inputs]
        with self._remembering:
            known = {key: self._stretches[key] for key in keys if key in self._stretches}
        asked: dict[bytes, ForecastInput] = {}
        for key, request in zip(keys, inputs, strict=True):
            if key not in known and len(self._past_rows(len(request.closes))):
                asked[key] = request
        known |= dict(zip(asked, self._measure(list(asked.values())), strict=True))
        with self._remembering:
            self._stretches |= known
            while len(self._stretches) > _REMEMBERED:
                del self._stretches[next(iter(self._stretches))]
        return [known.get(key) for key in keys]

    def _as_of(self, request: ForecastInput, row: int) -> ForecastInput:
        """What was to be seen at a past row, whole as far as the model looks back."""
        seen = slice(row + 1 - self.min_history, row + 1)
        known = request.known and {name: one[seen] for name, one in request.known.items()}
        return replace(request, closes=request.closes[seen], horizon=self.max_horizon, known=known)

    def _measure(self, requests: Sequence[ForecastInput]) -> list[np.ndarray]:
        # Origins near each other look back at the same past: each window is forecast once.
        windows: dict[bytes, int] = {}
        asked: list[ForecastInput] = []
        places: list[np.ndarray] = []
        pasts: list[_Past] = []
        for request in requests:
            past = _Past(
                np.asarray(request.closes, np.float64), self._past_rows(len(request.closes))
            )
            found = np.empty(len(past.rows), dtype=np.int64)
            for place, row in enumerate(past.rows):
                window = self._as_of(request, int(row))
                key = _key(window)
                if key not in windows:
                    windows[key] = len(asked)
                    asked.append(window)
                found[place] = windows[key]
            places.append(found)
            pasts.append(past)
        if not asked:
            return []
        paths: list[np.ndarray] = []
        for first in range(0, len(asked), _AT_ONCE):
            paths += self.model.forecast(asked[first : first + _AT_ONCE])
        made = np.log(np.maximum(np.stack(paths), np.finfo(float).tiny))
        return [
            _stretch(made[found], past, self.max_horizon)
            for found, past in zip(places, pasts, strict=True)
        ]


def _key(request: ForecastInput) -> bytes:
    digest = hashlib.sha256(f"{request.series.key}\n".encode())
    for values in (request.closes, *(request.known or {}).values()):
        digest.update(values.tobytes())
    return digest.digest()


def _stretch(made: np.ndarray, past: _Past, horizon: int) -> np.ndarray:
    """Return the factor of each step and interval; `made` are log quantiles of past forecasts.

    Shapes: `made` (past, horizon, len(QUANTILES)), the answer (horizon, intervals).
    """
    truth = np.log(past.closes[past.rows[:, None] + np.arange(1, horizon + 1)])
    error = truth - made[:, :, _MEDIAN]
    count = len(made)
    factors = []
    for low, high, share in _PAIRS:
        side = np.where(error < 0, low, high)[:, :, None]
        offset = np.abs(np.take_along_axis(made, side, axis=2)[:, :, 0] - made[:, :, _MEDIAN])
        ratios = np.abs(error) / np.maximum(offset, _LEAST_OFFSET)
        factors.append(np.quantile(ratios, min(share * (1 + 1 / count), 1.0), axis=0))
    return np.stack(factors, axis=1)


def _stretched(path: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Move each interval's ends away from the median, or towards it, by its factor."""
    median, moved = path[:, _MEDIAN], path.copy()
    for factor, (low, high, _) in zip(stretch.T, _PAIRS, strict=True):
        for end in (low, high):
            moved[:, end] = median * (path[:, end] / median) ** factor
    # Where the outer interval shrank inside the inner one, they touch.
    moved[:, 0] = np.minimum(moved[:, 0], moved[:, 1])
    moved[:, 4] = np.maximum(moved[:, 4], moved[:, 3])
    return moved
