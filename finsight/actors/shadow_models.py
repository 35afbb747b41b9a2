"""Versions that answer beside the champion, in a process of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from finsight import wiring
from finsight.domain.errors import FinSightError, InvalidInput, ModelUnavailable
from finsight.domain.forecast import Basis, Role
from finsight.domain.sentiment import SentimentScore
from finsight.ports.models import (
    Forecaster,
    ForecastInput,
    ModelReference,
    SentimentModel,
    ServedForecast,
)
from finsight.settings import Settings

_FIRST_WITHIN_S = 180.0
_WITHIN_S = 20.0
_log = logging.getLogger(__name__)


class ShadowModels:
    """Loads versions of the registry when they are first asked for.

    It runs as an actor, apart from whoever answers requests and from whoever asks it: a
    version that crashes, hangs or eats the memory takes nothing with it but itself.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._naive = wiring.naive_forecaster()
        self._forecasters: dict[tuple[str, str], Forecaster] = {}
        self._sentiments: dict[tuple[str, str], SentimentModel] = {}

    def forecast(self, reference: ModelReference, request: ForecastInput) -> ServedForecast:
        """Answer as `reference` would. Raises: InvalidInput (it can't), ModelUnavailable."""
        model = self._forecasters.get((reference.kind, reference.version))
        if model is None:
            model = wiring.read_forecaster(self._settings, reference)
            self._forecasters[reference.kind, reference.version] = model
        if request.horizon > model.max_horizon or len(request.closes) < model.min_history:
            raise InvalidInput(
                f"{model.name} {model.version} forecasts up to {model.max_horizon} candles from "
                f"{model.min_history}; asked for {request.horizon} from {len(request.closes)}"
            )
        [naive] = self._naive.forecast([request])
        [quantiles] = model.forecast([request])
        exact = request.series.key in model.trained_on
        return ServedForecast(
            quantiles=quantiles,
            naive=naive,
            model=model.name,
            model_version=model.version,
            basis=Basis.EXACT_SERIES if exact else Basis.SAME_TIMEFRAME,
            reason=f"{model.name} {model.version} as a shadow: kept and scored, not an answer",
            role=Role.SHADOW,
        )

    def score(self, reference: ModelReference, texts: Sequence[str]) -> list[SentimentScore]:
        """Score as `reference` would. Raises: StoreUnavailable, ModelUnavailable."""
        model = self._sentiments.get((reference.kind, reference.version))
        if model is None:
            model = wiring.read_sentiment_model(self._settings, reference)
            self._sentiments[reference.kind, reference.version] = model
        return model.score(texts)


class ShadowProcess:
    """The actor of `ShadowModels`, made when it is needed and ended when it hangs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._actor: Any = None
        self._loaded: set[tuple[str, str]] = set()

    async def forecast(self, reference: ModelReference, request: ForecastInput) -> ServedForecast:
        """Raises: InvalidInput, StoreUnavailable, ModelUnavailable."""
        answer: ServedForecast = await self._call("forecast", reference, request)
        return answer

    async def score(self, reference: ModelReference, texts: Sequence[str]) -> list[SentimentScore]:
        """Raises: StoreUnavailable, ModelUnavailable."""
        scores: list[SentimentScore] = await self._call("score", reference, list(texts))
        return scores

    def end(self) -> None:
        """Give its memory back."""
        if self._actor is not None:
            ray.kill(self._actor, no_restart=True)
        self._actor = None
        self._loaded.clear()

    async def _call(self, method: str, reference: ModelReference, argument: Any) -> Any:
        if self._actor is None:
            self._actor = ray.remote(ShadowModels).options(num_cpus=0).remote(self._settings)
        version = (reference.kind, reference.version)
        within_s = _WITHIN_S if version in self._loaded else _FIRST_WITHIN_S
        try:
            answer = await asyncio.wait_for(
                asyncio.wrap_future(
                    getattr(self._actor, method).remote(reference, argument).future()
                ),
                within_s,
            )
        except RayTaskError as exc:
            if isinstance(exc.cause, FinSightError):
                raise exc.cause from exc
            raise ModelUnavailable(f"{_words(reference)} failed: {exc.cause!r}") from exc
        except (RayError, TimeoutError) as exc:
            self.end()
            what = "took too long" if isinstance(exc, TimeoutError) else "took its process with it"
            raise ModelUnavailable(f"{_words(reference)} {what}") from exc
        self._loaded.add(version)
        return answer


def _words(reference: ModelReference) -> str:
    return f"version {reference.version} of {reference.kind}, as a shadow,"
