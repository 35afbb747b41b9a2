"""Keeps the supervisor running for as long as the application is deployed."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError

from finsight.actors.kept_actor import names_there
from finsight.actors.supervisor import Supervisor
from finsight.settings import NAMESPACE, Settings

_log = logging.getLogger(__name__)

SUPERVISOR = "supervisor"
_ANSWER_WITHIN_S = 5.0
_STOP_WITHIN_S = 25.0


@serve.deployment(
    num_replicas=1,
    ray_actor_options={"num_cpus": 0},
    health_check_period_s=2,
    health_check_timeout_s=30,
    # A check that is under way is waited for before the end begins.
    graceful_shutdown_timeout_s=90,
)
class Platform:
    """Makes the supervisor, and mends it from Serve's own health check.

    The supervisor and what it keeps are detached: they outlive a replica that is
    killed. They end when the application is deleted or deployed again: Serve then
    calls `__del__`, which it can't for a replica that was killed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._supervisor: Any = None
        # A check that is under way while we end would make what has just been ended.
        self._one_at_a_time = asyncio.Lock()
        self._ended = False

    async def check_health(self) -> None:
        """Called by Serve every two seconds. Never raises for the supervisor's sake:
        Serve would end this replica, and ending it properly ends the platform."""
        async with self._one_at_a_time:
            if self._ended:
                return
            try:
                if self._supervisor is None:
                    self._supervisor = await asyncio.to_thread(self._make)
                    await self._replace_if_changed()
                await _answer(self._supervisor.ensure_running.remote())
            except (RayError, ValueError, TimeoutError) as exc:
                _log.warning("the supervisor can't be made to run: %s", exc)
                # A handle of a dead actor stays dead, even when another has its name by now.
                self._supervisor = None

    async def __del__(self) -> None:
        """Stop everything, because the application is being deleted or replaced."""
        self._ended = True
        async with self._one_at_a_time:
            try:
                supervisor = self._supervisor or await asyncio.to_thread(
                    ray.get_actor, SUPERVISOR, namespace=NAMESPACE
                )
                await self._end(supervisor)
            except (RayError, ValueError, TimeoutError) as exc:
                _log.warning("the supervisor could not be stopped: %s", exc)
            finally:
                await asyncio.to_thread(_end_what_is_left)

    async def _replace_if_changed(self) -> None:
        """End a supervisor that was started with other settings; the next check makes ours."""
        if await _answer(self._supervisor.settings.remote()) != self._settings:
            await self._end(self._supervisor)
            self._supervisor = await asyncio.to_thread(self._make)

    async def _end(self, supervisor: Any) -> None:
        try:
            await _answer(supervisor.stop.remote(), _STOP_WITHIN_S)
        finally:
            await asyncio.to_thread(ray.kill, supervisor, no_restart=True)
            await asyncio.to_thread(_end_what_is_left)

    def _make(self) -> Any:
        return (
            ray.remote(Supervisor)
            .options(
                name=SUPERVISOR,
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
                num_cpus=0,
            )
            .remote(self._settings)
        )


def _end_what_is_left() -> None:
    """End the parts that a supervisor which died or hung did not: nothing else ever would."""
    for name in names_there():
        try:
            ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
        except ValueError:
            continue  # It has just ended.
        _log.warning("%s was left over and is ended", name)


async def _answer(reference: Any, within_s: float = _ANSWER_WITHIN_S) -> Any:
    return await asyncio.wait_for(asyncio.wrap_future(reference.future()), within_s)
