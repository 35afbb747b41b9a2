"""Forecasts as of many past moments of one series, beside naive's and beside what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.forecast_evaluation import Scale, scales_before
from finsight.domain.forecast_verdict import Outcomes
from finsight.domain.known_features import known_features
from finsight.domain.timeframe import Timeframe, to_ms
from finsight.ports.models import Forecaster, ForecastInput
from finsight.ports.news import KnownSentiment
from finsight.services.forecasting import HISTORY_CANDLES

QUANTILE_COLUMNS = ("low_95", "low_80", "median", "high_80", "high_95")
"""The columns of a forecast, in the order of `QUANTILES`; naive's have `naive_` before them."""

_TIME = pa.timestamp("ms", tz="UTC")
SCHEMA = pa.schema(
    [
        ("series", pa.string()),
        ("model_version", pa.string()),
        ("origin", _TIME),
        ("step", pa.int32()),
        ("opened_at", _TIME),
        ("close", pa.float64()),
        ("last_close", pa.float64()),
        ("scale", pa.float64()),
        ("square_scale", pa.float64()),
    ]
    + [(name, pa.float64()) for name in QUANTILE_COLUMNS]
    + [(f"naive_{name}", pa.float64()) for name in QUANTILE_COLUMNS]
)
"""One row a step of a forecast; `origin` is the opening time of the last candle it saw."""

_TOGETHER = 64  # origins in one call of the model


@dataclass(frozen=True)
class Span:
    """Which origins: the candles forecast open at or after `since` and have closed by `until`.

    An origin every `every` candles, on one grid for all series; `horizon` candles ahead.
    """

    since: datetime
    until: datetime
    every: int
    horizon: int


def origin_rows(candles: CandleTable, timeframe: Timeframe, span: Span, window: int) -> np.ndarray:
    """Return the rows of `candles` that are origins, oldest first.

    The `window` candles up to an origin and the `horizon` ones after it are unbroken.
    """
    ts, horizon = candles.ts_ms, span.horizon
    if len(ts) < window + horizon:
        return np.empty(0, dtype=np.int64)
    # The origin is the candle before the first one forecast.
    first = timeframe.floor(timeframe.ceil(span.since) - timedelta(milliseconds=1))
    grid = timeframe.opens_between(first, span.until)[:: span.every]
    rows = np.flatnonzero(np.isin(ts, grid))
    rows = rows[(rows >= window - 1) & (rows + horizon < len(ts))]
    closed = timeframe.next_ms(ts[rows + horizon]) <= to_ms(span.until)
    stretch = np.cumsum(np.r_[0, ts[1:] != timeframe.next_ms(ts[:-1])])
    unbroken = stretch[rows - window + 1] == stretch[rows + horizon]
    origins: np.ndarray = rows[closed & unbroken]
    return origins


def judge(
    model: Forecaster,
    naive: Forecaster,
    version: str,
    series: Series,
    candles: CandleTable,
    rows: Sequence[int] | np.ndarray,
    horizon: int,
    sentiment: Sequence[KnownSentiment] | None = None,
) -> pa.Table:
    """Forecast from each origin among `rows`, and return `SCHEMA`'s rows.

    `version` names the model in them. Each forecaster sees the closes up to the origin, as
    many as a forecast that is asked for is made from; with `sentiment`, also what
    `known_features` makes of it, as of when it was known.

    Raises: InvalidInput (too short a history, too far a horizon).
    """
    ts, closes = candles.ts_ms, np.array(candles.column("close"), dtype=np.float64)
    rows = np.asarray(rows, dtype=np.int64)
    neighbours = ts[1:] == series.timeframe.next_ms(ts[:-1])
    scale = scales_before(closes, neighbours, rows, HISTORY_CANDLES)
    known = None if sentiment is None else known_features(candles, series.timeframe, sentiment)
    inputs = []
    for row in rows:
        seen = slice(max(0, row + 1 - HISTORY_CANDLES), row + 1)
        beside = known and {name: values[seen] for name, values in known.items()}
        inputs.append(ForecastInput(series, closes[seen], horizon, beside))
    quantiles, baseline = _all_of(model, inputs), _all_of(naive, inputs)
    ahead = rows[:, None] + np.arange(1, horizon + 1)

    def stepwise(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, horizon)

    columns = {
        "series": np.full(ahead.size, series.key),
        "model_version": np.full(ahead.size, version),
        "origin": stepwise(ts[rows]),
        "step": np.tile(np.arange(1, horizon + 1, dtype=np.int32), len(rows)),
        "opened_at": ts[ahead].ravel(),
        "close": closes[ahead].ravel(),
        "last_close": stepwise(closes[rows]),
        "scale": stepwise(scale.absolute),
        "square_scale": stepwise(scale.square),
    }
    for place, name in enumerate(QUANTILE_COLUMNS):
        columns[name] = quantiles[:, :, place].ravel()
        columns[f"naive_{name}"] = baseline[:, :, place].ravel()
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _all_of(forecaster: Forecaster, inputs: list[ForecastInput]) -> np.ndarray:
    paths: list[np.ndarray] = []
    for first in range(0, len(inputs), _TOGETHER):
        paths += forecaster.forecast(inputs[first : first + _TOGETHER])
    return np.stack(paths)


def outcomes_of(table: pa.Table, every: int) -> Outcomes:
    """Read `SCHEMA`'s rows back into arrays; origins of a price that never moved are left out.

    Raises: InvalidInput (none is left).
    """
    horizon = int(np.max(table.column("step").to_numpy()))

    def grid(name: str) -> np.ndarray:
        values: np.ndarray = table.column(name).to_numpy()
        return values.reshape(-1, horizon)

    def paths(prefix: str) -> np.ndarray:
        return np.stack([grid(prefix + name) for name in QUANTILE_COLUMNS], axis=2)

    outcomes = Outcomes(
        series=grid("series")[:, 0],
        origins=table.column("origin").cast(pa.int64()).to_numpy().reshape(-1, horizon)[:, 0],
        quantiles=paths(""),
        naive=paths("naive_"),
        truth=grid("close"),
        last=grid("last_close")[:, 0],
        scale=Scale(grid("scale")[:, 0], grid("square_scale")[:, 0]),
        every=every,
    )
    outcomes = outcomes.of(~np.isnan(outcomes.scale.absolute))
    if not len(outcomes.origins):
        raise InvalidInput("no price moved before any origin: there is nothing to judge by")
    return outcomes
