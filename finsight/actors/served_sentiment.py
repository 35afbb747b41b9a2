"""The sentiment model of the Serve application, as actors use it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from finsight.domain.errors import FinSightError, ModelUnavailable
from finsight.domain.sentiment import SentimentScore
from finsight.settings import APP_NAME


class ServedSentiment:
    """Implements `ports.models.SentimentService` over the deployment `Sentiment`.

    The handle is looked up at the first call and after each failure, since Serve may
    start later than the caller, and start again.
    """

    def __init__(self, app_name: str = APP_NAME, timeout_s: float = 60.0) -> None:
        self._app_name = app_name
        self._timeout_s = timeout_s
        self._handle: DeploymentHandle[Any] | None = None

    async def score(self, texts: Sequence[str]) -> list[SentimentScore]:
        try:
            if self._handle is None:
                # Asks Serve's controller whether there is such a deployment, and waits for it.
                self._handle = await asyncio.to_thread(
                    serve.get_deployment_handle, "Sentiment", app_name=self._app_name
                )
            # A handle waits for a replica that isn't there yet for as long as it takes.
            async with asyncio.timeout(self._timeout_s):
                scores: list[SentimentScore] = await self._handle.score.remote(list(texts))
        except RayTaskError as exc:
            if isinstance(exc.cause, FinSightError):
                raise exc.cause from exc
            raise ModelUnavailable(f"the sentiment model failed: {exc.cause!r}") from exc
        except (RayError, RayServeException, KeyError, TimeoutError) as exc:
            self._handle = None
            raise ModelUnavailable(
                "the sentiment model does not answer; it is tried again until it does"
            ) from exc
        return scores
