"""Forecasts made as candles come, scored as they close, and the first training."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError

from finsight import wiring
from finsight.actors.served_forecasts import ServedForecasts
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
from finsight.domain.known_features import nothing_known
from finsight.domain.timeframe import Timeframe
from finsight.ports.events import Delivery, EventBus
from finsight.ports.models import ForecastInput, ModelReference
from finsight.services.forecast_scoring import ForecastScoring
from finsight.services.forecasting import Forecasting, newest_closed
from finsight.services.walk_forward import walk_forward
from finsight.settings import Settings
from finsight.training.train_forecaster import forecaster_kind, train_forecaster

FORECAST_WORKER = "forecast-worker"
GROUP = "forecasts"
_KINDS = ("CandlesCollected",)
_LOOK_S = 3.0
_LAGGARDS_S = 60.0
_SERVED_WITHIN_S = 60.0
_AFTER_FAILED_TRAINING_S = 120.0
_AGAIN_S = 5.0
_WILL_PASS = (ModelUnavailable, StoreUnavailable, SourceUnavailable)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Ports:
    """What the worker works with, opened together."""

    bus: EventBus
    served: ServedForecasts
    live: Forecasting
    backdated: Forecasting
    scoring: ForecastScoring


class ForecastWorker:
    """Keeps a forecast at the newest candle of every series, and its record.

    Two tasks. One takes `CandlesCollected`: it scores what is due and forecasts again,
    unless the candles are old (a backfill under way). What the forecaster or a store that
    is down keeps it from is put off, however long that lasts. The other looks after the
    models: it trains a first one where a timeframe has none and the series have caught
    up, and gives each new champion fresh forecasts and a record over its held-out part.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = wiring.open_clock(settings)
        self._candles = wiring.open_candle_store(settings)
        self._forecasts = wiring.open_forecast_store(settings)
        self._registry = wiring.open_model_registry(settings)
        self._ports: _Ports | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._problems: dict[str, str] = {}
        self._newest_origin: datetime | None = None
        self._training: dict[Timeframe, str] = {}
        self._welcomed: dict[Timeframe, str] = {}
        self._first_ready: dict[Timeframe, float] = {}
        self._try_training_after: dict[Timeframe, float] = {}

    async def ensure_running(self) -> list[PartHealth]:
        """Start the tasks that aren't running; say how the worker is."""
        for name, work in (("events", self._follow_events), ("models", self._look_after_models)):
            if name not in self._tasks or self._tasks[name].done():
                self._tasks[name] = asyncio.create_task(work())
        return self._health()

    async def training_progress(self, timeframe: str, step: int, steps: int) -> None:
        """Told by the training task."""
        self._training[Timeframe(timeframe)] = (
            f"training PatchTST for {timeframe}, step {step} of {steps}"
        )

    def _health(self) -> list[PartHealth]:
        training = "; ".join(self._training.values())
        problem = "; ".join(self._problems.values())
        detail = "; ".join(filter(None, [training, problem]))
        state = PartState.LATE if problem else PartState.OK
        return [
            PartHealth(
                part=FORECAST_WORKER, state=state, detail=detail, newest_at=self._newest_origin
            )
        ]

    def _open(self) -> _Ports:
        """Raises: StoreUnavailable (the event bus isn't there yet)."""
        if self._ports is None:
            bus = wiring.open_event_bus(self._settings)
            articles = wiring.open_article_store(self._settings)
            served = ServedForecasts()

            def forecasting(announced_on: EventBus | None) -> Forecasting:
                return Forecasting(
                    self._candles,
                    articles,
                    self._forecasts,
                    announced_on,
                    served,
                    self._clock,
                    self._settings.forecasting.input_candles,
                )

            scoring = ForecastScoring(self._candles, self._forecasts, self._clock)
            self._ports = _Ports(bus, served, forecasting(bus), forecasting(None), scoring)
        return self._ports

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

    async def _take_events(self, ports: _Ports) -> None:
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

    async def _candles_came(self, ports: _Ports, series: Series) -> None:
        await ports.scoring.score_due(series)
        if await self._has_caught_up(series):
            await self._forecast(ports, series)

    async def _forecast(self, ports: _Ports, series: Series) -> None:
        """Forecast `series` now; with too little history there is nothing to do yet."""
        try:
            answer = await ports.live.forecast(series, self._settings.forecasting.horizon)
        except (InvalidInput, NotFound) as exc:
            _log.info("no forecast of %s yet: %s", series, exc)
            return
        self._newest_origin = max(
            self._newest_origin or answer.forecast.origin, answer.forecast.origin
        )

    async def _has_caught_up(self, series: Series) -> bool:
        """Whether its newest candle is the newest that has closed, or the one before."""
        last = (await self._candles.summary(series)).last
        newest = newest_closed(series.timeframe, self._clock.now())
        return last is not None and series.timeframe.next(last) >= newest

    # Models: the first training, and each new champion's record.

    async def _look_after_models(self) -> None:
        while True:
            try:
                await self._look_at_models()
                self._problems.pop("models", None)
            except FinSightError as exc:
                self._problems["models"] = str(exc)
            await asyncio.sleep(_LOOK_S * random.uniform(0.8, 1.2))

    async def _look_at_models(self) -> None:
        by_timeframe: dict[Timeframe, list[Series]] = {}
        for series in await self._candles.list_series():
            by_timeframe.setdefault(series.timeframe, []).append(series)
        for timeframe, stored in by_timeframe.items():
            champion = await asyncio.to_thread(self._registry.champion, forecaster_kind(timeframe))
            if champion is None and await self._may_train(timeframe, stored):
                champion = await self._train(timeframe)
            if champion is not None and self._welcomed.get(timeframe) != champion.version:
                await self._welcome(champion, stored)
                self._welcomed[timeframe] = champion.version

    async def _may_train(self, timeframe: Timeframe, stored: Sequence[Series]) -> bool:
        """Whether a first training can start: all series have caught up, or the rest is late."""
        if not self._settings.forecasting.train_when_missing:
            return False
        if time.monotonic() < self._try_training_after.get(timeframe, 0.0):
            return False
        configured = {one.series for one in self._settings.series if one.timeframe is timeframe}
        wanted = configured | set(stored)
        least = self._settings.forecasting.min_train_candles
        caught_up = [one for one in stored if await self._has_caught_up(one)]
        ready = [one for one in caught_up if (await self._candles.summary(one)).candles >= least]
        if not ready:
            return False
        since = self._first_ready.setdefault(timeframe, time.monotonic())
        return len(caught_up) == len(wanted) or time.monotonic() - since > _LAGGARDS_S

    async def _train(self, timeframe: Timeframe) -> ModelReference | None:
        """Run a training as a Ray task, which Ray starts again when its process dies."""
        self._training[timeframe] = f"training PatchTST for {timeframe}: starting"
        try:
            worker = ray.get_runtime_context().current_actor
            reference: ModelReference = await _train.remote(self._settings, timeframe, worker)
        except RayTaskError as exc:
            self._try_training_after[timeframe] = time.monotonic() + _AFTER_FAILED_TRAINING_S
            raise ModelUnavailable(f"training for {timeframe} failed: {exc.cause}") from exc
        except RayError as exc:
            self._try_training_after[timeframe] = time.monotonic() + _AFTER_FAILED_TRAINING_S
            raise ModelUnavailable(f"training for {timeframe} did not finish") from exc
        finally:
            self._training.pop(timeframe, None)
        return reference

    async def _welcome(self, champion: ModelReference, stored: Sequence[Series]) -> None:
        """Once `champion` serves: fresh forecasts, and its record where it has none yet."""
        ports = self._open()
        taught = set(champion.tags.get("trained_on", "").split(","))
        known = [series for series in stored if series.key in taught]
        if known:
            await self._until_served(ports, known[0], champion)
        for series in stored:
            if await self._has_caught_up(series):
                await self._forecast(ports, series)
        trained_until = champion.tags.get("trained_until")
        if trained_until is None:
            return
        trained_at = champion.tags.get("trained_at", self._clock.now().isoformat())
        for series in known:
            errors = await self._forecasts.errors(series, None)
            own = (e for e in errors if (e.model, e.model_version) == _name_of(champion))
            await walk_forward(
                series,
                datetime.fromisoformat(trained_until),
                datetime.fromisoformat(trained_at),
                self._settings.forecasting.horizon,
                ports.backdated,
                ports.scoring,
                had={error.origin for error in own},
            )

    async def _until_served(self, ports: _Ports, series: Series, champion: ModelReference) -> None:
        """Return when the deployment answers with `champion`. Raises: ModelUnavailable."""
        newest = newest_closed(series.timeframe, self._clock.now())
        start = newest - 3 * self._settings.forecasting.input_candles * series.timeframe.duration
        candles = await self._candles.read(series, start, newest)
        closes = np.array(candles.column("close"))
        request = ForecastInput(series, closes, 1, nothing_known(len(closes)))
        await ports.served.until_answered_by(_name_of(champion), request, _SERVED_WITHIN_S)


def _name_of(champion: ModelReference) -> tuple[str, str]:
    """How its forecasts name it: naive has a version 1 too."""
    return champion.tags.get("model", ""), champion.version


# One call a process: what a training took (half a gigabyte) is given back with it.
@ray.remote(num_cpus=1, max_retries=3, max_calls=1)
def _train(settings: Settings, timeframe: Timeframe, worker: Any) -> ModelReference:
    def progress(step: int, steps: int, loss: float) -> None:
        worker.training_progress.remote(str(timeframe), step, steps)

    return train_forecaster(settings, timeframe, progress=progress)
