"""A record for a new model at once: forecasts as of past moments that it never saw."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime

import numpy as np

from finsight.domain.accuracy import ForecastError
from finsight.domain.candle import Series
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe, from_ms
from finsight.services.forecast_scoring import ForecastScoring
from finsight.services.forecasting import Forecasting

MOST_ORIGINS = 12
REASON = "walk-forward over the held-out part: made later, from what was known at the origin"


def held_out_origins(
    timeframe: Timeframe, trained_until: datetime, trained_at: datetime, horizon: int, most: int
) -> list[datetime]:
    """Return up to `most` origins, spread evenly, oldest first.

    The candles forecast from each open at or after `trained_until`, have all closed
    by `trained_at`, and no two origins share one. Asked again later, they are the same.
    """
    first = timeframe.floor(trained_until)
    # The origin is the candle before the first one forecast.
    opens = timeframe.opens_between(first - timeframe.duration, timeframe.floor(trained_at))
    starts = opens[: len(opens) - horizon : horizon]
    if not len(starts):
        return []
    chosen = np.linspace(0, len(starts) - 1, min(most, len(starts))).round().astype(int)
    return [from_ms(int(ts)) for ts in starts[chosen]]


async def walk_forward(
    series: Series,
    trained_until: datetime,
    trained_at: datetime,
    horizon: int,
    forecasting: Forecasting,
    scoring: ForecastScoring,
    had: Collection[datetime] = (),
    most: int = MOST_ORIGINS,
) -> list[ForecastError]:
    """Forecast `series` from past origins after `trained_until`, and score at once.

    Those of `had` have an outcome already and are left out: a walk that a crash cut
    short is completed by walking again.

    Raises: as `Forecasting.forecast`, but for origins with too little history, which
        are left out.
    """
    origins = held_out_origins(series.timeframe, trained_until, trained_at, horizon, most)
    made = await asyncio.gather(
        *(
            forecasting.forecast(series, horizon, origin, REASON)
            for origin in origins
            if origin not in had
        ),
        return_exceptions=True,
    )
    for outcome in made:
        if isinstance(outcome, BaseException) and not isinstance(outcome, InvalidInput):
            raise outcome
    return await scoring.score_due(series)
