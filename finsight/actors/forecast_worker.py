"""Forecasts made as candles come, scored as they close, and the first training."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime

from finsight import wiring
from finsight.actors.forecast_models import ForecastModels, ForecastPorts
from finsight.actors.served_forecasts import ServedForecasts
from finsight.actors.shadow_forecasts import ShadowForecasts
from finsight.domain.candle import Series
from finsight.domain.errors import (
    FinSightError,
    InvalidInput,
    ModelUnavailable,
    NotFound,
    SourceUnavailable,
    StoreUnavailable,
)
from finsight.domain.health import PartHealth, PartState
from finsight.domain.timeframe import Timeframe
from finsight.ports.events import Delivery, EventBus
from finsight.ports.models import ForecastService
from finsight.services.forecast_scoring import ForecastScoring
from finsight.services.forecasting import Forecasting, newest_closed
from finsight.settings import Settings

FORECAST_WORKER = "forecast-worker"
GROUP = "forecasts"
_KINDS = ("CandlesCollected",)
_LOOK_S = 3.0
_AGAIN_S = 5.0
_WILL_PASS = (ModelUnavailable, StoreUnavailable, SourceUnavailable)
_log = logging.getLogger(__name__)


class ForecastWorker:
    """Keeps a forecast at the newest candle of every series, and its record.

    Two tasks. One takes `CandlesCollected`: it scores what is due and forecasts again,
    unless the candles are old (a backfill under way). What the forecaster or a store that
    is down keeps it from is put off, however long that lasts. The other looks after the
    models (`ForecastModels`). What is forecast is offered to the versions that forecast
    as shadows.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = wiring.open_clock(settings)
        self._candles = wiring.open_candle_store(settings)
        self._forecasts = wiring.open_forecast_store(settings)
        self._registry = wiring.open_model_registry(settings)
        self._articles = wiring.open_article_store(settings)
        self._ports: ForecastPorts | None = None
        self._shadows = ShadowForecasts(settings, self._forecasting)
        self._models = ForecastModels(
            settings=settings,
            clock=self._clock,
            candles=self._candles,
            forecasts=self._forecasts,
            registry=self._registry,
            shadows=self._shadows,
            ports=self._open,
            forecast=self._forecast,
            has_caught_up=self._has_caught_up,
        )
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._problems: dict[str, str] = {}
        self._newest_origin: datetime | None = None

    async def ensure_running(self) -> list[PartHealth]:
        """Start the tasks that aren't running; say how the worker is."""
        for name, work in (("events", self._follow_events), ("models", self._look_after_models)):
            if name not in self._tasks or self._tasks[name].done():
                self._tasks[name] = asyncio.create_task(work())
        return self._health()

    async def training_progress(self, timeframe: str, step: int, steps: int) -> None:
        """Told by the training task."""
        self._models.note_training(Timeframe(timeframe), step, steps)

    def _health(self) -> list[PartHealth]:
        problem = "; ".join(self._problems.values())
        detail = "; ".join(filter(None, [*self._models.said(), problem]))
        state = PartState.LATE if problem else PartState.OK
        return [
            PartHealth(
                part=FORECAST_WORKER, state=state, detail=detail, newest_at=self._newest_origin
            )
        ]

    def _open(self) -> ForecastPorts:
        """Raises: StoreUnavailable (the event bus isn't there yet)."""
        if self._ports is None:
            bus = wiring.open_event_bus(self._settings)
            champion = ServedForecasts(champion_only=True)
            scoring = ForecastScoring(self._candles, self._forecasts, self._clock)
            self._ports = ForecastPorts(
                bus=bus,
                champion=champion,
                live=self._forecasting(ServedForecasts(), bus),
                backdated=self._forecasting(champion),
                scoring=scoring,
            )
        return self._ports

    def _forecasting(
        self, service: ForecastService, announced_on: EventBus | None = None
    ) -> Forecasting:
        return Forecasting(
            self._candles,
            self._articles,
            self._forecasts,
            announced_on,
            service,
            self._clock,
            self._settings.forecasting.input_candles,
        )

    # Events: forecasts and their scores.

    async def _follow_events(self) -> None:
        pause_s = 0.5
        while True:
            try:
                await self._take_events(self._open())
                self._problems.pop("events", None)
                pause_s = 0.5
            except FinSightError as exc:
                self._problems["events"] = str(exc)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
                pause_s = min(2 * pause_s, 15.0)

    async def _take_events(self, ports: ForecastPorts) -> None:
        by_series: dict[Series, list[Delivery]] = {}
        for delivery in await ports.bus.receive(GROUP, FORECAST_WORKER, _KINDS, 64, wait_s=2.0):
            if delivery.event.kind == "CandlesCollected":
                by_series.setdefault(delivery.event.series, []).append(delivery)
        # Together, so that the forecaster answers them as one batch.
        came = [self._candles_came(ports, series) for series in by_series]
        outcomes = await asyncio.gather(*came, return_exceptions=True)
        for (series, told), outcome in zip(by_series.items(), outcomes, strict=True):
            if outcome is None:
                self._problems.pop(series.key, None)
            elif isinstance(outcome, FinSightError):
                self._problems[series.key] = f"{series}: {outcome}"
            else:
                raise outcome
            if isinstance(outcome, _WILL_PASS):
                for delivery in told:
                    await ports.bus.put_off(GROUP, delivery, _AGAIN_S * random.uniform(0.5, 1.5))
            else:
                # Done, or of no use to try again: the series' next candle may change it.
                await ports.bus.acknowledge(GROUP, [delivery.id for delivery in told])

    async def _candles_came(self, ports: ForecastPorts, series: Series) -> None:
        await ports.scoring.score_due(series)
        if await self._has_caught_up(series):
            await self._forecast(ports, series)

    async def _forecast(self, ports: ForecastPorts, series: Series) -> None:
        """Forecast `series` now; with too little history there is nothing to do yet."""
        try:
            answer = await ports.live.forecast(series, self._settings.forecasting.horizon)
        except (InvalidInput, NotFound) as exc:
            _log.info("no forecast of %s yet: %s", series, exc)
            return
        origin = answer.forecast.origin
        self._newest_origin = max(self._newest_origin or origin, origin)
        self._shadows.offer(series, self._settings.forecasting.horizon, origin)

    async def _has_caught_up(self, series: Series) -> bool:
        """Whether its newest candle is the newest that has closed, or the one before."""
        last = (await self._candles.summary(series)).last
        newest = newest_closed(series.timeframe, self._clock.now())
        return last is not None and series.timeframe.next(last) >= newest

    async def _look_after_models(self) -> None:
        while True:
            try:
                await self._models.look()
                self._problems.pop("models", None)
            except FinSightError as exc:
                self._problems["models"] = str(exc)
            await asyncio.sleep(_LOOK_S * random.uniform(0.8, 1.2))
