"""The windows that forecasters are compared on: what each saw, and what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.known_features import known_features
from finsight.ports.models import ForecastInput
from finsight.ports.news import KnownSentiment
from finsight.services.forecasting import HISTORY_CANDLES


@dataclass(frozen=True)
class Span:
    """Which origins are forecast from, and what a forecast looks back over and ahead.

    `opens` are the opening times of all candles from the first one looked at to the last
    one forecast; `first` is the row of the first one that is new to both, `starts` are the
    rows of the first candles forecast. A forecast needs `history` candles behind it.
    """

    opens: np.ndarray
    first: int
    starts: np.ndarray
    stride: int
    history: int
    horizon: int

    @property
    def new(self) -> int:
        """How many candles have closed that are new to both."""
        return len(self.opens) - self.first


@dataclass(frozen=True)
class Windows:
    """What is forecast, and what happened: `origins` are rows of `Span.starts`.

    The scale of a loss comes from the last `scale` candles before its origin.
    """

    inputs: list[ForecastInput]
    truth: np.ndarray
    origins: np.ndarray
    scale: int


def cut_windows(
    series: Series, candles: CandleTable, sentiment: Sequence[KnownSentiment], span: Span
) -> Windows:
    """Return the windows of `series` in which no candle is missing.

    Behind what every forecast needs comes as much as is unbroken. What else was known is
    made as in training and serving: each row as of its own close.
    """
    _, rows, found = np.intersect1d(
        span.opens, candles.ts_ms, assume_unique=True, return_indices=True
    )

    def on_grid(values: np.ndarray) -> np.ndarray:
        placed = np.full(len(span.opens), np.nan)
        placed[rows] = values[found]
        return placed

    closes = on_grid(candles.column("close"))
    features = known_features(candles, series.timeframe, sentiment)
    known = {name: on_grid(values) for name, values in features.items()}
    holes = np.flatnonzero(np.isnan(closes))
    inputs: list[ForecastInput] = []
    origins: list[int] = []
    for origin, start in enumerate(span.starts.tolist()):
        hole = int(np.searchsorted(holes, start + span.horizon))
        begin = max(int(holes[hole - 1]) + 1 if hole else 0, start - HISTORY_CANDLES, 0)
        if start - begin >= span.history:
            seen = {name: values[begin:start] for name, values in known.items()}
            inputs.append(ForecastInput(series, closes[begin:start], span.horizon, seen))
            origins.append(origin)
    starts = span.starts[origins]
    truth = closes[starts[:, None] + np.arange(span.horizon)]
    return Windows(inputs, truth, np.array(origins, np.int64), span.history)
