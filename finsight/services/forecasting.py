"""Making a forecast: what was known, the best model there is, and the naive path beside it."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import FinSightError, InvalidInput, NotFound, StoreUnavailable
from finsight.domain.events import ForecastMade
from finsight.domain.forecast import Forecast, ForecastStep, Role
from finsight.domain.known_features import SENTIMENT_WINDOW, known_features
from finsight.domain.segments import count_missing, cut_at_gaps
from finsight.domain.sentiment import TrendPoint
from finsight.domain.timeframe import Timeframe, from_ms, to_ms
from finsight.ports.clock import Clock
from finsight.ports.events import EventBus
from finsight.ports.forecasts import ForecastStore
from finsight.ports.market import CandleStore
from finsight.ports.models import ForecastInput, ForecastService, ServedForecast
from finsight.ports.news import ArticleStore, KnownSentiment

HISTORY_CANDLES = 1000
"""Candles read for one forecast: the model's window, and past errors for naive's intervals."""

MAX_HORIZON = 720
MAX_MISSING_SHARE = 0.05
"""Of the model's window, candles that may be missing: it reads across the hole and says so."""

TREND_SPAN = timedelta(days=7)
TREND_BUCKET = timedelta(hours=6)
_IDS = uuid.UUID("5f0f6f4e-5d6b-5c1e-9a55-5a1f0f2d9c11")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ForecastAnswer:
    """A forecast with what it was made from.

    `candles` are the recent candles up to the origin, oldest first; `trend` is the
    sentiment of the base currency's articles over the days before. `notes` say in
    words what a reader must know: data that is old or missing, a part that is down.
    """

    forecast: Forecast
    candles: CandleTable
    trend: tuple[TrendPoint, ...]
    notes: tuple[str, ...] = ()


class Forecasting:
    """Makes forecasts from what the stores hold, and remembers them.

    The same series, origin, horizon and model version make the same forecast: it is
    stored once, whoever asks and however often.
    """

    def __init__(
        self,
        candles: CandleStore,
        articles: ArticleStore,
        forecasts: ForecastStore,
        bus: EventBus | None,
        forecaster: ForecastService,
        clock: Clock,
        input_candles: int = 168,
    ) -> None:
        """`input_candles` is the models' window; without a `bus` nothing is announced."""
        self._candles = candles
        self._articles = articles
        self._forecasts = forecasts
        self._bus = bus
        self._forecaster = forecaster
        self._clock = clock
        self._input_candles = input_candles

    async def forecast(
        self, series: Series, horizon: int, origin: datetime | None = None, reason: str = ""
    ) -> ForecastAnswer:
        """Forecast the `horizon` candles of `series` after the newest closed one.

        With `origin`, as of then: only candles that opened at or before it are seen.
        `reason` is added to the model's own.

        Raises:
            InvalidInput: a horizon out of bounds, too little history, an origin in the future.
            NotFound: nothing of the series is stored.
            StoreUnavailable, ModelUnavailable: try again later.
        """
        if not 1 <= horizon <= MAX_HORIZON:
            raise InvalidInput(f"the horizon must be 1 to {MAX_HORIZON} candles, not {horizon}")
        now = self._clock.now()
        newest = newest_closed(series.timeframe, now)
        if origin is not None and origin > newest:
            raise InvalidInput(
                f"the origin {origin.isoformat()} has not closed yet; the newest closed "
                f"{series.timeframe} candle opened at {newest.isoformat()}"
            )
        history = await self._history(series, min(origin or newest, newest))
        seen, notes = self._usable(series, history, origin or newest)
        closes = np.array(seen.column("close"), dtype=np.float64)
        known = await self._known(series, seen, notes)
        served = await self._forecaster.forecast(ForecastInput(series, closes, horizon, known))
        forecast = _forecast_of(series, horizon, seen, served, [reason, *notes], now)
        await self._forecasts.save([forecast])
        stored = (await self._forecasts.get(forecast.id)).forecast
        await self._announce(stored, notes)
        trend = await self._trend(series, stored.origin, notes)
        return ForecastAnswer(stored, history, trend, tuple(notes))

    async def _history(self, series: Series, last: datetime) -> CandleTable:
        """Return up to `HISTORY_CANDLES` candles, the newest opening at or before `last`."""
        end = series.timeframe.next(series.timeframe.floor(last))
        span = HISTORY_CANDLES * series.timeframe.duration
        found = (await self._candles.read(series, end - span, end)).tail(HISTORY_CANDLES)
        if len(found) >= min(self._input_candles, HISTORY_CANDLES):
            return found
        summary = await self._candles.summary(series)
        if not summary.candles or summary.first is None or summary.last is None:
            raise NotFound(await self._unknown(series))
        if not len(found) and summary.first >= end:
            raise InvalidInput(
                f"{series} is stored from {summary.first.isoformat()} on; there is nothing "
                f"before {end.isoformat()} to forecast from"
            )
        # What there is may be old, or thin: look further back once.
        newest = min(end, series.timeframe.next(summary.last))
        return (await self._candles.read(series, newest - 3 * span, end)).tail(HISTORY_CANDLES)

    async def _unknown(self, series: Series) -> str:
        stored = await self._candles.list_series()
        names = ", ".join(str(one) for one in stored[:12]) or "none yet"
        more = f" and {len(stored) - 12} more" if len(stored) > 12 else ""
        return (
            f"no candles of {series} are stored; stored: {names}{more}. To collect it: finsight "
            f"backfill {series.exchange} {series.symbol} {series.timeframe} --since 2024-01-01"
        )

    def _usable(
        self, series: Series, history: CandleTable, expected: datetime
    ) -> tuple[CandleTable, list[str]]:
        """Return the candles to forecast from, and what to say of them."""
        notes: list[str] = []
        last = history.last_opened_at
        if last is None:
            raise InvalidInput(f"no usable candles of {series} before {expected.isoformat()}")
        behind = len(series.timeframe.opens_between(series.timeframe.next(last), expected)) + int(
            last < expected
        )
        if behind > 1:
            notes.append(
                f"the data is old: the newest candle opened at {last.isoformat()}, "
                f"{behind} candles ago"
            )
        window = history.tail(self._input_candles)
        missing = count_missing(window, series.timeframe)
        if not missing:
            return history, notes
        if missing <= MAX_MISSING_SHARE * len(window):
            notes.append(f"{missing} of the last {len(window) + missing} candles are missing")
            return history, notes
        newest_stretch = cut_at_gaps(history, series.timeframe)[-1]
        notes.append(
            f"{missing} candles are missing among the last {len(window) + missing}: only the "
            f"{len(newest_stretch)} after the last gap were used"
        )
        return newest_stretch, notes

    async def _known(
        self, series: Series, seen: CandleTable, notes: list[str]
    ) -> dict[str, np.ndarray]:
        """Return what else was known at the close of each candle: made as in training."""
        first, last = seen.first_opened_at, seen.last_opened_at
        assert first is not None
        assert last is not None
        until = series.timeframe.next(last)
        since = first - max(SENTIMENT_WINDOW, series.timeframe.duration)
        sentiment: list[KnownSentiment] = []
        try:
            sentiment = await self._articles.known_sentiment(series.base, until, since)
        except FinSightError as exc:
            notes.append(f"forecast without sentiment: {exc}")
        return known_features(seen, series.timeframe, sentiment)

    async def _announce(self, forecast: Forecast, notes: list[str]) -> None:
        if self._bus is None:
            return
        event = ForecastMade(
            happened_at=forecast.made_at,
            forecast_id=forecast.id,
            series=forecast.series,
            model=forecast.model,
            horizon=forecast.horizon,
            median=forecast.steps[-1].median,
            naive=forecast.naive[-1].median,
        )
        try:
            await self._bus.publish([event])
        except StoreUnavailable as exc:
            # The forecast is stored; who listens for it sees the next one.
            _log.warning("forecast %s was not announced: %s", forecast.id, exc)
            notes.append("the event bus is down: the forecast was not announced")

    async def _trend(
        self, series: Series, origin: datetime, notes: list[str]
    ) -> tuple[TrendPoint, ...]:
        end = series.timeframe.next(origin)
        try:
            points = await self._articles.trend(series.base, end - TREND_SPAN, end, TREND_BUCKET)
        except FinSightError as exc:
            notes.append(f"no sentiment trend: {exc}")
            return ()
        return tuple(points)


def newest_closed(timeframe: Timeframe, now: datetime) -> datetime:
    """Return when the newest candle that has closed by `now` opened."""
    return timeframe.floor(timeframe.floor(now) - timedelta(milliseconds=1))


def _forecast_of(
    series: Series,
    horizon: int,
    seen: CandleTable,
    served: ServedForecast,
    remarks: list[str],
    now: datetime,
) -> Forecast:
    origin = seen.last_opened_at
    assert origin is not None
    opens = _opens_after(series.timeframe, origin, horizon)
    words = "; ".join(filter(None, [served.reason, *remarks]))
    made_of = f"{series.key}|{to_ms(origin)}|{horizon}|{served.model}|{served.model_version}"
    # What a version answered as a shadow must not stand for its answer once it serves.
    as_what = "" if served.role is Role.CHAMPION else f"|{served.role}"
    return Forecast(
        id=str(uuid.uuid5(_IDS, made_of + as_what)),
        series=series,
        origin=origin,
        made_at=now,
        last_close=float(seen.column("close")[-1]),
        model=served.model,
        model_version=served.model_version,
        basis=served.basis,
        reason=words,
        steps=_steps(opens, served.quantiles),
        naive=_steps(opens, served.naive),
        role=served.role,
    )


def _opens_after(timeframe: Timeframe, origin: datetime, count: int) -> list[datetime]:
    opens, at = [], np.array([to_ms(origin)])
    for _ in range(count):
        at = timeframe.next_ms(at)
        opens.append(from_ms(int(at[0])))
    return opens


def _steps(opens: list[datetime], quantiles: np.ndarray) -> tuple[ForecastStep, ...]:
    return tuple(
        ForecastStep(
            opened_at=opened_at,
            low_95=float(row[0]),
            low_80=float(row[1]),
            median=float(row[2]),
            high_80=float(row[3]),
            high_95=float(row[4]),
        )
        for opened_at, row in zip(opens, quantiles, strict=True)
    )
