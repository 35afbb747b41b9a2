"""The forecasting models, behind a batching queue; naive is always there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ray import serve
from ray.util.metrics import Histogram

from finsight.deployments.canary import Canary, takes
from finsight.deployments.champion_following import POLL_S, AliasFollowing
from finsight.domain.candle import Series
from finsight.domain.forecast import Basis, Role
from finsight.domain.known_features import nothing_known
from finsight.domain.promotion import CHALLENGER, CHAMPION
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import Forecaster as ForecastingModel
from finsight.ports.models import ForecastInput, ModelReference, ServedForecast
from finsight.settings import Settings
from finsight.wiring import (
    naive_forecaster,
    open_model_registry,
    prepare_forecasters,
    read_forecaster,
)

MAX_BATCH = 32


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
    role: Role = Role.CHAMPION


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
        self._champions: dict[Timeframe, AliasFollowing[ForecastingModel]] = {}
        self._challengers: dict[Timeframe, AliasFollowing[ForecastingModel]] = {}
        self._canaries: dict[Timeframe, Canary[ForecastingModel]] = {}
        self._batch_sizes: list[int] = []
        self._batches = Histogram(
            "finsight_forecast_batch_size",
            description="requests answered together",
            boundaries=[1, 2, 4, 8, 16, 32],
        )
        self._following: asyncio.Task[None] | None = None
        self._preparing: asyncio.Task[None] | None = None

    async def forecast(self, request: ForecastInput, champion_only: bool = False) -> ServedForecast:
        """As the port. The first request of a timeframe waits for its model to load.

        Naive answers before the batch forms: what it refuses must not fail other callers.
        With `champion_only` the challenger never answers, whatever its share.
        """
        self._keep_following()
        [baseline] = await asyncio.to_thread(self._naive.forecast, [request])
        champion = self._champion(request.series.timeframe)
        if not champion.looked:
            await self._refresh(request.series.timeframe)
        if champion.model is None and self._preparing is None:
            # A first model is probably being trained: be ready to read it.
            self._preparing = asyncio.create_task(asyncio.to_thread(prepare_forecasters))
        asked = _Asked(request, baseline)
        by_challenger = None if champion_only else await self._by_challenger(asked)
        return by_challenger or await self._forecast_batch(asked)

    async def check_health(self) -> None:
        self._keep_following()

    async def models(self) -> dict[str, str]:
        """Return what serves each timeframe: the version, or why there is none."""
        return {
            str(timeframe): (
                f"{champion.model.name} {champion.model.version}"
                + (f" ({champion.trouble})" if champion.trouble else "")
                if champion.model
                else f"naive: {champion.absence}"
            )
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
        champion = self._champions[request.series.timeframe]
        if champion.model is None:
            return _Choice(self._naive, Basis.NAIVE, f"naive: {champion.absence}")
        return _choice_of(champion.model, request, self._naive)

    async def _by_challenger(self, asked: _Asked) -> ServedForecast | None:
        """The challenger's answer where this request is its share and it can; else None."""
        share, request = self._settings.models.canary_share, asked.request
        if not share or not takes(share, _key_of(request)):
            return None
        challenger = self._challenger(request.series.timeframe)
        if not challenger.looked:
            return None

        def answer(model: ForecastingModel) -> ServedForecast | None:
            choice = _choice_of(model, request, self._naive)
            if choice.basis is Basis.NAIVE:
                return None
            canary = replace(choice, reason=f"canary: {choice.reason}", role=Role.CANARY)
            return _answer([asked], [canary])[0]

        return await self._canaries[request.series.timeframe].answer(answer)

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
        """Look at the aliases once; load what they name where that is another version."""
        await self._champion(timeframe).look()
        if self._settings.models.canary_share:
            await self._challenger(timeframe).look()

    def _champion(self, timeframe: Timeframe) -> AliasFollowing[ForecastingModel]:
        if timeframe not in self._champions:
            self._champions[timeframe] = self._follow_alias(timeframe, CHAMPION)
        return self._champions[timeframe]

    def _challenger(self, timeframe: Timeframe) -> AliasFollowing[ForecastingModel]:
        if timeframe not in self._challengers:
            challenger = self._follow_alias(timeframe, CHALLENGER)
            self._challengers[timeframe] = challenger
            self._canaries[timeframe] = Canary(challenger)
        return self._challengers[timeframe]

    def _follow_alias(self, timeframe: Timeframe, alias: str) -> AliasFollowing[ForecastingModel]:
        def read(reference: ModelReference) -> ForecastingModel:
            model = read_forecaster(self._settings, reference)
            _warm(model, timeframe)
            return model

        none_yet = f"no model of {timeframe} candles has been trained yet"
        return AliasFollowing(f"forecaster-{timeframe}", self._registry, read, alias, none_yet)


def _choice_of(model: ForecastingModel, request: ForecastInput, naive: ForecastingModel) -> _Choice:
    """`model` where it can answer `request`, else `naive`; and why."""
    name, series = f"{model.name} {model.version}", request.series
    if request.horizon > model.max_horizon:
        return _Choice(
            naive,
            Basis.NAIVE,
            f"naive: {name} was trained for {model.max_horizon} candles ahead, "
            f"{request.horizon} were asked for",
        )
    if len(request.closes) < model.min_history:
        return _Choice(
            naive,
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


def _key_of(request: ForecastInput) -> bytes:
    """What tells series and origin: the same question is always the same one's to answer."""
    newest = np.ascontiguousarray(request.closes[-8:], dtype=np.float64)
    return request.series.key.encode() + newest.tobytes()


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
            reason=choice.reason,
            role=choice.role,
        )
        for quantiles, asked, choice in zip(answers, batch, choices, strict=True)
    ]


def _warm(model: ForecastingModel, timeframe: Timeframe) -> None:
    """Make one forecast, so that the first caller doesn't pay for lazy set-up."""
    series = Series(exchange="warm", symbol="WARM/UP", timeframe=timeframe)
    closes: np.ndarray[Any, Any] = 100 + np.sin(np.arange(model.min_history + 1.0))
    for size in (1, 8):
        model.forecast([ForecastInput(series, closes, 1, nothing_known(len(closes)))] * size)
