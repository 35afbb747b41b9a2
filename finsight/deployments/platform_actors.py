"""The platform's actors, called by their names, with time limits and plain errors."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeStatus

from finsight.deployments.champion_following import Serving
from finsight.deployments.http_errors import unwrapped
from finsight.domain.backfill import Backfill
from finsight.domain.candle import Series
from finsight.domain.collector import Collector
from finsight.domain.errors import FinSightError, NotFound, SourceUnavailable
from finsight.domain.health import PartHealth, PartState
from finsight.domain.timeframe import Timeframe
from finsight.settings import APP_NAME, NAMESPACE

SUPERVISOR = "supervisor"
MODEL_DEPLOYMENTS = ("Sentiment", "Forecaster")
_VERSIONS_WITHIN_S = 2.0


class PlatformActors:
    """Implements `PlatformParts` over Ray's named actors and Serve's status."""

    def __init__(self, timeout_s: float = 10.0, app_name: str = APP_NAME) -> None:
        self._timeout_s = timeout_s
        self._app_name = app_name
        self._deployments: dict[str, Any] = {}
        self._handles: dict[str, Any] = {}

    async def health(self) -> list[PartHealth]:
        return list(await self._call(SUPERVISOR, "health"))

    async def served(self) -> list[PartHealth]:
        try:
            status = await asyncio.wait_for(asyncio.to_thread(serve.status), self._timeout_s)
        except (RayError, RayServeException, TimeoutError) as exc:
            raise SourceUnavailable("Ray Serve's controller does not answer") from exc
        running = [
            (name, _deployment_health(status, self._app_name, name)) for name in MODEL_DEPLOYMENTS
        ]
        return list(await asyncio.gather(*(self._with_versions(*one) for one in running)))

    async def _with_versions(self, name: str, health: PartHealth) -> PartHealth:
        """Add which versions serve, as one of the replicas tells it."""
        if health.state is not PartState.OK:
            return health
        try:
            if name not in self._deployments:
                self._deployments[name] = await asyncio.to_thread(
                    serve.get_deployment_handle, name, self._app_name
                )
            serving: list[Serving] = await asyncio.wait_for(
                _awaited(self._deployments[name].serving.remote()), _VERSIONS_WITHIN_S
            )
        except (RayError, RayServeException, KeyError, TimeoutError):
            return health  # Busy: it runs, and what it answers with stands in its answers.
        words = ", ".join(f"{one.what}: {one}" for one in serving)
        return health.model_copy(
            update={
                "detail": f"{health.detail}; {words}" if words else health.detail,
                "state": PartState.LATE if any(one.trouble for one in serving) else health.state,
            }
        )

    async def collectors(self) -> list[Collector]:
        return list(await self._call(SUPERVISOR, "collectors"))

    async def set_collector(self, collector: Collector) -> Collector:
        changed = await self._call(SUPERVISOR, "set_collector", collector)
        assert isinstance(changed, Collector)
        return changed

    async def remove_collector(self, collector_id: str) -> None:
        await self._call(SUPERVISOR, "remove_collector", collector_id)

    async def symbols(self, exchange: str) -> list[str]:
        return list(await self._call(_collector_name(exchange), "exchange_symbols"))

    async def timeframes(self, exchange: str) -> list[Timeframe]:
        return list(await self._call(_collector_name(exchange), "exchange_timeframes"))

    async def backfill(
        self, series: Series, start: datetime, end: datetime, gaps_only: bool
    ) -> str:
        name = _collector_name(series.exchange)
        return str(await self._call(name, "backfill", series, start, end, gaps_only))

    async def backfills(self) -> list[Backfill]:
        exchanges = {c.candles.exchange for c in await self.collectors() if c.candles}
        found: list[Backfill] = []
        for exchange in sorted(exchanges):
            try:
                found += await self._call(_collector_name(exchange), "backfills")
            except NotFound:
                # Its actor goes when its last series is removed or stopped.
                continue
        return found

    async def cancel_backfill(self, backfill: Backfill) -> Backfill:
        name = _collector_name(backfill.series.exchange)
        cancelled = await self._call(name, "cancel_backfill", backfill.id)
        assert isinstance(cancelled, Backfill)
        return cancelled

    async def _call(self, actor: str, method: str, *args: Any) -> Any:
        try:
            handle = await self._handle(actor)
            return await asyncio.wait_for(
                asyncio.wrap_future(getattr(handle, method).remote(*args).future()),
                self._timeout_s,
            )
        except RayActorError as exc:
            # A handle of a dead actor stays dead, even when another has its name by now.
            self._handles.pop(actor, None)
            raise SourceUnavailable(f"{actor} is being restarted; try again in a moment") from exc
        except TimeoutError as exc:
            raise SourceUnavailable(f"{actor} did not answer in {self._timeout_s:.0f} s") from exc
        except RayTaskError as exc:
            error = unwrapped(exc)
            if isinstance(error, FinSightError):
                raise error from exc
            raise

    async def _handle(self, actor: str) -> Any:
        if actor not in self._handles:
            try:
                # Asks Ray's head over the network, so not on the event loop.
                self._handles[actor] = await asyncio.to_thread(
                    ray.get_actor, actor, namespace=NAMESPACE
                )
            except ValueError as exc:
                if actor == SUPERVISOR:
                    raise SourceUnavailable(
                        "the platform's supervisor isn't running yet; try again in a moment"
                    ) from exc
                raise NotFound(
                    f"nothing is collected from {actor.partition(':')[2]}; add a collector for it "
                    "with POST /v1/collectors"
                ) from exc
        return self._handles[actor]


async def _awaited(response: Any) -> Any:
    return await response


def _collector_name(exchange: str) -> str:
    return f"candles:{exchange}"


def _deployment_health(status: ServeStatus, app_name: str, name: str) -> PartHealth:
    part = f"deployment:{name}"
    application = status.applications.get(app_name)
    deployment = application.deployments.get(name) if application else None
    if deployment is None:
        return PartHealth(part=part, state=PartState.STARTING, detail="not deployed yet")
    states = deployment.replica_states.items()
    running = sum(count for state, count in states if state == "RUNNING")
    if running:
        return PartHealth(part=part, state=PartState.OK, detail=f"replicas that run: {running}")
    failed = deployment.status in ("UNHEALTHY", "DEPLOY_FAILED")
    return PartHealth(
        part=part,
        state=PartState.FAILED if failed else PartState.STARTING,
        detail=deployment.message[:500] or "no replica runs yet",
    )
