"""The forecasting models, behind a batching queue; naive is always there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import serve
from ray.util.metrics import Histogram

from finsight.domain.candle import Series
from finsight.domain.errors import FinSightError
from finsight.domain.forecast import Basis
from finsight.domain.known_features import nothing_known
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import (
    CalibratedForecaster,
    ForecastInput,
    ModelReference,
    ServedForecast,
)
from finsight.ports.models import Forecaster as ForecastingModel
from finsight.settings import Settings
from finsight.wiring import (
    naive_forecaster,
    open_model_registry,
    prepare_forecasters,
    read_forecaster,
)

MAX_BATCH = 32
POLL_S = 3.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Asked:
    """A request, with naive's answer to it."""

    request: ForecastInput
    naive: np.ndarray


@dataclass(frozen=True)
class _Choice:
    """Which model answers a request, and why."""

    model: ForecastingModel
    basis: Basis
    reason: str


@dataclass(frozen=True)
class _Champion:
    """What serves a timeframe: a model, or the reason why there is none."""

    reference: ModelReference | None = None
    model: ForecastingModel | None = None
    absence: str = ""


@serve.deployment(
    # A batch can only form from requests that are let in: one being answered, one waiting.
    max_ongoing_requests=4 * MAX_BATCH,
    ray_actor_options={"num_cpus": 0.25},
    health_check_period_s=2,
)
class Forecaster:
    """Implements `ports.models.ForecastService` for many callers.

    It serves the registry's champion of each timeframe and follows the alias: every
    few seconds it looks, loads a new champion beside the old one, warms it, and swaps.
    While the registry is down the last champion goes on serving.
    """

    def __init__(self, settings: Settings, poll_s: float = POLL_S) -> None:
        self._settings = settings
        self._poll_s = poll_s
        self._registry = open_model_registry(settings)
        self._naive = naive_forecaster()
        self._champions: dict[Timeframe, _Champion] = {}
        self._loading: dict[Timeframe, asyncio.Lock] = {}
        self._batch_sizes: list[int] = []
        self._batches = Histogram(
            "finsight_forecast_batch_size",
            description="requests answered together",
            boundaries=[1, 2, 4, 8, 16, 32],
        )
        self._following: asyncio.Task[None] | None = None
        self._preparing: asyncio.Task[None] | None = None

    async def forecast(self, request: ForecastInput) -> ServedForecast:
        """As the port. The first request of a timeframe waits for its model to load.

        Naive answers before the batch forms: what it refuses must not fail other callers.
        """
        self._keep_following()
        [baseline] = await asyncio.to_thread(self._naive.forecast, [request])
        if request.series.timeframe not in self._champions:
            await self._refresh(request.series.timeframe)
        if self._champions[request.series.timeframe].model is None and self._preparing is None:
            # A first model is probably being trained: be ready to read it.
            self._preparing = asyncio.create_task(asyncio.to_thread(prepare_forecasters))
        return await self._forecast_batch(_Asked(request, baseline))

    async def check_health(self) -> None:
        self._keep_following()

    async def models(self) -> dict[str, str]:
        """Return what serves each timeframe: the version, or why there is none."""
        return {
            str(timeframe): champion.reference.version if champion.reference else champion.absence
            for timeframe, champion in self._champions.items()
        }

    async def recent_batch_sizes(self) -> list[int]:
        """Return the sizes of the last batches, oldest first."""
        return list(self._batch_sizes)

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.005)
    async def _forecast_batch(self, batch: list[_Asked]) -> list[ServedForecast]:
        self._batches.observe(len(batch))
        self._batch_sizes = [*self._batch_sizes[-99:], len(batch)]
        choices = [self._choose(asked.request) for asked in batch]
        return await asyncio.to_thread(_answer, batch, choices)

    def _choose(self, request: ForecastInput) -> _Choice:
        series = request.series
        champion = self._champions[series.timeframe]
        model = champion.model
        if model is None:
            return _Choice(self._naive, Basis.NAIVE, f"naive: {champion.absence}")
        name = f"{model.name} {model.version}"
        if request.horizon > model.max_horizon:
            return _Choice(
                self._naive,
                Basis.NAIVE,
                f"naive: {name} was trained for {model.max_horizon} candles ahead, "
                f"{request.horizon} were asked for",
            )
        if len(request.closes) < model.min_history:
            return _Choice(
                self._naive,
                Basis.NAIVE,
                f"naive: {name} looks back over {model.min_history} candles, there are "
                f"{len(request.closes)}",
            )
        if series.key in model.trained_on:
            return _Choice(model, Basis.EXACT_SERIES, f"{name} was trained on this series")
        return _Choice(
            model,
            Basis.SAME_TIMEFRAME,
            f"{name} was trained on other {series.timeframe} series, not on this one",
        )

    def _keep_following(self) -> None:
        # Started from the event loop, which the constructor does not run in.
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        for timeframe in dict.fromkeys(one.timeframe for one in self._settings.series):
            await self._refresh(timeframe)
        while True:
            await asyncio.sleep(self._poll_s)
            for timeframe in list(self._champions):
                await self._refresh(timeframe)

    async def _refresh(self, timeframe: Timeframe) -> None:
        """Look at the alias once; load what it names when that is another version."""
        async with self._loading.setdefault(timeframe, asyncio.Lock()):
            before = self._champions.get(timeframe)
            try:
                fresh = await asyncio.to_thread(self._look, timeframe, before)
            except FinSightError as exc:
                _log.warning("the champion of %s is unknown: %s", timeframe, exc)
                fresh = before or _Champion(absence=f"the model can't be loaded now ({exc})")
            self._champions[timeframe] = fresh

    def _look(self, timeframe: Timeframe, before: _Champion | None) -> _Champion:
        reference = self._registry.champion(f"forecaster-{timeframe}")
        if reference is None:
            return _Champion(absence=f"no model of {timeframe} candles has been trained yet")
        if before and before.reference and before.model and before.reference == reference:
            return before
        model = read_forecaster(self._settings, reference)
        _warm(model, timeframe)
        _log.info("%s %s serves %s", model.name, model.version, timeframe)
        return _Champion(reference, model)


def _answer(batch: Sequence[_Asked], choices: Sequence[_Choice]) -> list[ServedForecast]:
    """One forward pass a model, whatever mixture of series the batch holds."""
    answers = [asked.naive for asked in batch]
    groups: dict[int, list[int]] = {}
    for row, choice in enumerate(choices):
        if choice.basis is not Basis.NAIVE:
            groups.setdefault(id(choice.model), []).append(row)
    for rows in groups.values():
        made = choices[rows[0]].model.forecast([batch[row].request for row in rows])
        for row, quantiles in zip(rows, made, strict=True):
            answers[row] = quantiles
    return [
        ServedForecast(
            quantiles=quantiles,
            naive=asked.naive,
            model=choice.model.name,
            model_version=choice.model.version,
            basis=choice.basis,
            reason=_in_words(choice, asked.request),
        )
        for quantiles, asked, choice in zip(answers, batch, choices, strict=True)
    ]


def _warm(model: ForecastingModel, timeframe: Timeframe) -> None:
    """Make one forecast, so that the first caller doesn't pay for lazy set-up."""
    series = Series(exchange="warm", symbol="WARM/UP", timeframe=timeframe)
    closes: np.ndarray[Any, Any] = 100 + np.sin(np.arange(model.min_history + 1.0))
    for size in (1, 8):
        model.forecast([ForecastInput(series, closes, 1, nothing_known(len(closes)))] * size)


def _in_words(choice: _Choice, request: ForecastInput) -> str:
    """Why this model answered, and what its intervals lack."""
    model = choice.model
    remark = model.remark(request) if isinstance(model, CalibratedForecaster) else None
    return choice.reason if remark is None else f"{choice.reason}; {remark}"
