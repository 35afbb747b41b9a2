"""A share of the requests, answered by the challenger."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Generic, TypeVar

from ray.util.metrics import Counter

from finsight.deployments.champion_following import AliasFollowing

ANSWER_WITHIN_S = 3.0
_MOST_WAITING = 16
_REST_S = 60.0
_log = logging.getLogger(__name__)

M = TypeVar("M")
T = TypeVar("T")


def takes(share: float, key: bytes) -> bool:
    """Whether the request that `key` stands for is among `share` of all: always the same answer."""
    drawn = int.from_bytes(hashlib.sha256(key).digest()[:8]) / 2**64
    return drawn < share


class Canary(Generic[M]):
    """Lets the challenger answer, without ever failing whom it answers.

    It computes in a thread of its own, one request at a time. Where it fails, is slow or
    has too many waiting, the answer is None: the champion is asked instead, and after a
    failure the challenger rests for a minute.
    """

    def __init__(self, challenger: AliasFollowing[M], within_s: float = ANSWER_WITHIN_S) -> None:
        self._challenger = challenger
        self._within_s = within_s
        self._waiting = 0
        self._rests_until = 0.0
        self._thread = ThreadPoolExecutor(1, "canary")
        self._counted = _metric()

    async def answer(self, work: Callable[[M], T]) -> T | None:
        """Return what `work` makes of the challenger; None where the champion must answer."""
        model = self._challenger.model
        resting = time.monotonic() < self._rests_until
        if model is None or resting or self._waiting >= _MOST_WAITING:
            self._count("passed on")
            return None
        self._waiting += 1
        loop = asyncio.get_running_loop()
        computing = loop.run_in_executor(self._thread, work, model)
        # It counts as waiting until its thread is free of it, also when nobody waits any more.
        computing.add_done_callback(self._is_done)
        done, _ = await asyncio.wait([computing], timeout=self._within_s)
        if done and computing.exception() is None:
            self._count("answered")
            return computing.result()
        why = repr(computing.exception()) if done else f"no answer in {self._within_s:.0f} s"
        self._rests_until = time.monotonic() + _REST_S
        self._count("failed")
        _log.warning("the challenger of %s rests a minute: %s", self._challenger.kind, why)
        return None

    def _is_done(self, computed: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not computed.cancelled():
            computed.exception()  # Seen, so that asyncio does not complain of it.

    def _count(self, outcome: str) -> None:
        self._counted.inc(1, {"kind": self._challenger.kind, "outcome": outcome})


@cache
def _metric() -> Counter:
    return Counter(
        "finsight_canary_requests",
        description="Requests of the canary's share: answered, failed or passed on.",
        tag_keys=("kind", "outcome"),
    )
