"""What the forecast worker does for the models: first trainings, welcomes, the watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError

from finsight.actors.champion_watch import ChampionWatch, name_of
from finsight.actors.served_forecasts import ServedForecasts
from finsight.actors.shadow_forecasts import ShadowForecasts
from finsight.domain.candle import Series
from finsight.domain.errors import ModelUnavailable
from finsight.domain.known_features import nothing_known
from finsight.domain.timeframe import Timeframe
from finsight.ports.clock import Clock
from finsight.ports.events import EventBus
from finsight.ports.forecasts import ForecastStore
from finsight.ports.market import CandleStore
from finsight.ports.models import ForecastInput, ModelReference, ModelRegistry
from finsight.services.forecast_scoring import ForecastScoring
from finsight.services.forecasting import Forecasting, newest_closed
from finsight.services.walk_forward import walk_forward
from finsight.settings import Settings
from finsight.training.train_forecaster import forecaster_kind, train_forecaster

_LAGGARDS_S = 60.0
_SERVED_WITHIN_S = 60.0
_AFTER_FAILED_TRAINING_S = 120.0


@dataclass(frozen=True)
class ForecastPorts:
    """What the worker works with, opened together; `champion` never asks the challenger."""

    bus: EventBus
    champion: ServedForecasts
    live: Forecasting
    backdated: Forecasting
    scoring: ForecastScoring


class ForecastModels:
    """Looks after the models of every timeframe.

    It trains a first one where a timeframe has none and the series have caught up, gives
    each new champion fresh forecasts and a record over its held-out part, and has it
    watched beside its predecessor.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        candles: CandleStore,
        forecasts: ForecastStore,
        registry: ModelRegistry,
        shadows: ShadowForecasts,
        ports: Callable[[], ForecastPorts],
        forecast: Callable[[ForecastPorts, Series], Awaitable[None]],
        has_caught_up: Callable[[Series], Awaitable[bool]],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._candles = candles
        self._forecasts = forecasts
        self._registry = registry
        self._ports = ports
        self._forecast = forecast
        self._has_caught_up = has_caught_up
        self._watch = ChampionWatch(settings, clock, registry, forecasts, shadows)
        self._training: dict[Timeframe, str] = {}
        self._welcomed: dict[Timeframe, str] = {}
        self._first_ready: dict[Timeframe, float] = {}
        self._try_training_after: dict[Timeframe, float] = {}

    def said(self) -> list[str]:
        """What goes on, in words."""
        return [*self._training.values(), *self._watch.said()]

    def note_training(self, timeframe: Timeframe, step: int, steps: int) -> None:
        """Told by the training task, through the worker."""
        self._training[timeframe] = f"training PatchTST for {timeframe}, step {step} of {steps}"

    async def look(self) -> None:
        """Look once at every timeframe that candles are stored of. Raises: FinSightError."""
        by_timeframe: dict[Timeframe, list[Series]] = {}
        for series in await self._candles.list_series():
            by_timeframe.setdefault(series.timeframe, []).append(series)
        for timeframe, stored in by_timeframe.items():
            champion = await asyncio.to_thread(self._registry.champion, forecaster_kind(timeframe))
            if champion is None and await self._may_train(timeframe, stored):
                champion = await self._train(timeframe)
            await self._watch.look(timeframe, champion)
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
        ports = self._ports()
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
            own = (e for e in errors if (e.model, e.model_version) == name_of(champion))
            await walk_forward(
                series,
                datetime.fromisoformat(trained_until),
                datetime.fromisoformat(trained_at),
                self._settings.forecasting.horizon,
                ports.backdated,
                ports.scoring,
                had={error.origin for error in own},
            )

    async def _until_served(
        self, ports: ForecastPorts, series: Series, champion: ModelReference
    ) -> None:
        """Return when the deployment answers with `champion`. Raises: ModelUnavailable."""
        newest = newest_closed(series.timeframe, self._clock.now())
        start = newest - 3 * self._settings.forecasting.input_candles * series.timeframe.duration
        candles = await self._candles.read(series, start, newest)
        closes = np.array(candles.column("close"))
        request = ForecastInput(series, closes, 1, nothing_known(len(closes)))
        await ports.champion.until_answered_by(name_of(champion), request, _SERVED_WITHIN_S)


# One call a process: what a training took (half a gigabyte) is given back with it.
@ray.remote(num_cpus=1, max_retries=3, max_calls=1)
def _train(settings: Settings, timeframe: Timeframe, worker: Any) -> ModelReference:
    def progress(step: int, steps: int, loss: float) -> None:
        worker.training_progress.remote(str(timeframe), step, steps)

    return train_forecaster(settings, timeframe, progress=progress)
