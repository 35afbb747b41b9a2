"""The models' deployments, as the ports that services know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from finsight.deployments.http_errors import TooBusy, unwrapped
from finsight.domain.errors import FinSightError, ModelUnavailable
from finsight.domain.explanation import ForecastExplanation
from finsight.domain.sentiment import SentimentScore
from finsight.ports.models import ForecastInput, ServedForecast

SCORE_TIMEOUT_S = 60.0
FORECAST_TIMEOUT_S = 60.0


class ServedSentiment:
    """Implements `SentimentService` over the deployment's handle."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def score(self, texts: Sequence[str]) -> list[SentimentScore]:
        with _handle_errors_translated("the sentiment model"):
            answer = await asyncio.wait_for(
                _awaited(self._handle.score.remote(list(texts))), SCORE_TIMEOUT_S
            )
            return cast(list[SentimentScore], answer)


class ServedForecaster:
    """Implements `ExplainingForecasts` over the deployment's handle."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def forecast(self, request: ForecastInput) -> ServedForecast:
        with _handle_errors_translated("the forecaster"):
            answer = await asyncio.wait_for(
                _awaited(self._handle.forecast.remote(request)), FORECAST_TIMEOUT_S
            )
            return cast(ServedForecast, answer)

    async def explain(self, request: ForecastInput) -> ForecastExplanation:
        with _handle_errors_translated("the forecaster"):
            answer = await asyncio.wait_for(
                _awaited(self._handle.explain.remote(request)), FORECAST_TIMEOUT_S
            )
            return cast(ForecastExplanation, answer)


async def _awaited(response: object) -> object:
    return await response  # type: ignore[misc]


@contextmanager
def _handle_errors_translated(who: str) -> Iterator[None]:
    try:
        yield
    except BackPressureError as exc:
        raise TooBusy(f"too many requests wait for {who}; try again in a moment") from exc
    except RayTaskError as exc:
        error = unwrapped(exc)
        if isinstance(error, FinSightError):
            raise error from exc
        raise
    except TimeoutError as exc:
        raise ModelUnavailable(f"{who} did not answer in time; try again in a moment") from exc
    except (RayError, RayServeException) as exc:
        raise ModelUnavailable(f"{who} is being restarted; try again in a moment") from exc
