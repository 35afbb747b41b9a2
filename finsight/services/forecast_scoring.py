"""How forecasts turned out, once their candles have closed."""

from __future__ import annotations

from datetime import datetime, timedelta

from finsight.domain.accuracy import (
    AccuracyRecord,
    ForecastError,
    accuracy_records,
    one_step_scale,
    score_forecast,
)
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.forecast import Forecast
from finsight.ports.clock import Clock
from finsight.ports.forecasts import ForecastStore
from finsight.ports.market import CandleStore

SCALE_CANDLES = 168
"""Candles up to the origin whose typical change MASE is measured in."""

GIVEN_UP_AFTER = timedelta(days=2)
"""A forecast whose last candle never came is scored on those that did, after this long."""

_AT_ONCE = 200


class ForecastScoring:
    """Scores forecasts against the candles that came, and sums up the record."""

    def __init__(self, candles: CandleStore, forecasts: ForecastStore, clock: Clock) -> None:
        self._candles = candles
        self._forecasts = forecasts
        self._clock = clock

    async def score_due(self, series: Series) -> list[ForecastError]:
        """Score the forecasts of `series` whose last candle has closed and is stored.

        One whose last candle is missing waits, in case a gap is filled, up to
        `GIVEN_UP_AFTER`. A missing candle is left out, never filled.
        Raises: StoreUnavailable.
        """
        now = self._clock.now()
        # A candle that opens at the floor of now is still being formed.
        due = await self._forecasts.due(series, series.timeframe.floor(now), _AT_ONCE)
        if not due:
            return []
        start = min(f.origin for f in due) - SCALE_CANDLES * series.timeframe.duration
        end = max(series.timeframe.next(f.steps[-1].opened_at) for f in due)
        candles = await self._candles.read(series, start, end)
        errors = [error for f in due if (error := _score(f, candles, now)) is not None]
        await self._forecasts.save_errors(errors)
        return errors

    async def record(
        self, series: Series | None = None, since: datetime | None = None
    ) -> list[AccuracyRecord]:
        """Return the record per series, model and version. Raises: StoreUnavailable."""
        return accuracy_records(await self._forecasts.errors(series, since))


def _score(forecast: Forecast, candles: CandleTable, now: datetime) -> ForecastError | None:
    timeframe = forecast.series.timeframe
    after_origin = timeframe.next(forecast.origin)
    future = candles.between(after_origin, timeframe.next(forecast.steps[-1].opened_at))
    last = forecast.steps[-1].opened_at
    if future.last_opened_at != last and now < timeframe.next(last) + GIVEN_UP_AFTER:
        return None
    history = candles.between(forecast.origin - SCALE_CANDLES * timeframe.duration, after_origin)
    return score_forecast(forecast, future, one_step_scale(history, timeframe), now)
