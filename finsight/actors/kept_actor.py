"""One named actor that is kept there, whatever happens to it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from finsight.domain.health import PartHealth, PartState
from finsight.settings import NAMESPACE

_log = logging.getLogger(__name__)

_ANSWER_WITHIN_S = 10.0
_MAKE_WITHIN_S = 30.0
_LONGEST_PAUSE_S = 30.0
OURS = (
    "embedded-valkey",
    "candles:",
    "news",
    "sentiment-worker:",
    "forecast-worker",
    "retraining-watch",
)
"""How the names of the actors kept begin."""

_FAILED_AFTER = 4
"""An actor that could not be built so often in a row needs a person."""


class KeptActor:
    """Makes a detached actor, asks it to run, and makes it anew when Ray won't.

    Ray itself rebuilds an actor whose process died; it does not rebuild one whose
    constructor raised, and starts no background work in one that it rebuilt. `tend`,
    called again and again, does both.
    """

    def __init__(self, name: str, actor_class: Callable[[], type[Any]], *args: Any) -> None:
        self.name = name
        self._actor_class = actor_class
        self._args = args
        self._handle: Any = None
        self._health: list[PartHealth] = []
        self._problem: str | None = "is being made"
        self._failures = 0
        self._not_before = 0.0

    @property
    def health(self) -> list[PartHealth]:
        """What it last said of its parts; of itself when it does not answer."""
        if self._problem is None:
            return self._health
        state = PartState.FAILED if self._failures >= _FAILED_AFTER else PartState.STARTING
        silent = [
            part.model_copy(update={"state": state, "detail": f"{self.name} {self._problem}"})
            for part in self._health
            if part.state is not PartState.STOPPED
        ]
        own = PartHealth(part=self.name, state=state, detail=f"the actor {self._problem}")
        return silent or [own]

    @property
    def is_well(self) -> bool:
        """Whether it answered, and every part of it is up."""
        return self._problem is None and all(p.state is PartState.OK for p in self._health)

    async def tend(self, *wanted: Any) -> None:
        """Make the actor where there is none, and call its `ensure_running(*wanted)`.

        Never raises for the actor's sake: `health` says what is wrong.
        """
        try:
            if self._handle is None:
                if time.monotonic() < self._not_before:
                    return
                self._handle = await asyncio.wait_for(asyncio.to_thread(self._make), _MAKE_WITHIN_S)
            self._health = await _answer(self._handle.ensure_running.remote(*wanted))
            self._problem = None
            self._failures = 0
        except TimeoutError:
            self._problem = f"has not answered within {_ANSWER_WITHIN_S:.0f} s"
        except ActorUnavailableError:
            self._problem = "has died and is being built again"
        except ActorDiedError as exc:
            self._note_death(exc)
        except RayTaskError as exc:
            self._problem = f"says: {exc.cause}"
            _log.warning("%s could not be made to run: %s", self.name, exc)
        except (RayError, ValueError, ImportError) as exc:
            self._wait_longer(f"can't be made ({exc})")

    async def end(self) -> None:
        """Let it stop what it can stop, then end its process for good."""
        try:
            handle = self._handle or await asyncio.to_thread(
                ray.get_actor, self.name, namespace=NAMESPACE
            )
        except ValueError:
            return
        self._handle = None
        stop = getattr(handle, "stop", None)
        if stop is not None:
            try:
                await _answer(stop.remote())
            except (RayError, TimeoutError) as exc:
                _log.warning("%s did not stop by itself: %s", self.name, exc)
        await asyncio.to_thread(ray.kill, handle, no_restart=True)

    def _note_death(self, exc: ActorDiedError) -> None:
        """Ray won't build it again: its constructor raised, or it was killed for good."""
        self._handle = None
        self._wait_longer(f"could not be built ({str(exc).strip().splitlines()[-1]})")

    def _wait_longer(self, problem: str) -> None:
        self._failures += 1
        pause_s = min(_LONGEST_PAUSE_S, 2.0 ** (self._failures - 1))
        self._not_before = time.monotonic() + pause_s
        self._problem = f"{problem}; tried again in {pause_s:.0f} s"
        _log.warning("%s %s", self.name, self._problem)

    def _make(self) -> Any:
        actor_class = self._actor_class()
        own_node = ray.get_runtime_context().get_node_id()
        node = _head_node() if getattr(actor_class, "ON_HEAD", False) else None
        actor = ray.remote(actor_class).options(
            name=self.name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=0,
            # The embedded stores are files, and the embedded server listens on loopback:
            # without other stores all actors must be where the supervisor is.
            scheduling_strategy=NodeAffinitySchedulingStrategy(node or own_node, soft=True),
        )
        try:
            return actor.remote(*self._args)
        except ValueError:
            # The look-up and the creation race when another has just made it (ray#48856).
            return ray.get_actor(self.name, namespace=NAMESPACE)


def _head_node() -> str | None:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    heads = [node for node in nodes if "node:__internal_head__" in node["Resources"]]
    return str(heads[0]["NodeID"]) if heads else None


def names_there() -> list[str]:
    """The platform's actors that exist now, by name, the supervisor left out."""
    return [
        actor["name"]
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(OURS)
    ]


async def _answer(reference: Any) -> Any:
    return await asyncio.wait_for(asyncio.wrap_future(reference.future()), _ANSWER_WITHIN_S)
