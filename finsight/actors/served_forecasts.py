"""The Forecaster deployment, as an actor calls it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from finsight.domain.errors import FinSightError, ModelUnavailable
from finsight.ports.models import ForecastInput, ServedForecast
from finsight.settings import APP_NAME


class ServedForecasts:
    """Implements `ports.models.ForecastService` over the deployment's handle.

    With `champion_only` the challenger never answers, whatever its share is.
    """

    def __init__(
        self, app_name: str = APP_NAME, timeout_s: float = 60.0, champion_only: bool = False
    ) -> None:
        self._champion_only = champion_only
        self._app_name = app_name
        self._timeout_s = timeout_s
        self._handle: Any = None

    async def forecast(self, request: ForecastInput) -> ServedForecast:
        """As the port. Raises also: ModelUnavailable (it is starting, or did not answer)."""
        try:
            if self._handle is None:
                # Asks Serve's controller whether there is such a deployment, and waits for it.
                self._handle = await asyncio.to_thread(
                    serve.get_deployment_handle, "Forecaster", app_name=self._app_name
                )
            # A handle waits for a replica that isn't there yet for as long as it takes.
            async with asyncio.timeout(self._timeout_s):
                answer: ServedForecast = await self._handle.forecast.remote(
                    request, self._champion_only
                )
        except RayTaskError as exc:
            if isinstance(exc.cause, FinSightError):
                raise exc.cause from exc
            raise ModelUnavailable(f"the forecaster failed: {exc.cause!r}") from exc
        except (RayError, RayServeException, KeyError, TimeoutError) as exc:
            self._handle = None
            raise ModelUnavailable("the forecaster is not answering; it may be starting") from exc
        return answer

    async def until_answered_by(
        self, model: tuple[str, str], request: ForecastInput, within_s: float
    ) -> None:
        """Return when `request` is answered by that model, a name and a version.

        Raises: ModelUnavailable (another one answers still).
        """
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up:
            answer = await self.forecast(request)
            if (answer.model, answer.model_version) == model:
                return
            await asyncio.sleep(1.0)
        raise ModelUnavailable(f"{' '.join(model)} is not being served yet")
