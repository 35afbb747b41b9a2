"""Follows an alias of the registry: loads beside what serves, warms, swaps."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import cache
from typing import Generic, TypeVar

from ray.util.metrics import Counter, Gauge

from finsight.domain.errors import StoreUnavailable
from finsight.domain.promotion import CHAMPION
from finsight.ports.models import ModelReference, ModelRegistry

POLL_S = 3.0
_FIRST_PAUSE_S = 3.0
_LONGEST_PAUSE_S = 120.0
_log = logging.getLogger(__name__)

M = TypeVar("M")


class AliasFollowing(Generic[M]):
    """Keeps the version under one alias loaded and warm.

    `look` asks the registry once. Another version is read and warmed in a thread, beside
    the one that serves, and takes its place between two answers: whoever holds `model`
    goes on with the one it took. Nothing but the alias itself takes away a model that
    serves: not a registry that is down, and not a version that can't be read. That one is
    told of once in the log, stands in `trouble` until it is mended, and is tried again
    after ever longer pauses.
    """

    def __init__(
        self,
        kind: str,
        registry: ModelRegistry,
        read: Callable[[ModelReference], M],
        alias: str = CHAMPION,
        none_yet: str = "no version has been made to serve yet",
    ) -> None:
        """`read` loads a version and warms it, in a thread; `none_yet` is said without one."""
        self.kind = kind
        self.alias = alias
        self.model: M | None = None
        self.reference: ModelReference | None = None
        self.absence = none_yet
        self.trouble = ""
        self.looked = False
        self._registry = registry
        self._read = read
        self._none_yet = none_yet
        self._looking = asyncio.Lock()
        self._refused: ModelReference | None = None
        self._again_at = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._swaps, self._serving = _metrics()

    async def look(self) -> bool:
        """Ask the registry once; load what the alias names. Returns whether it swapped."""
        async with self._looking:
            swapped = await self._look()
            self.looked = True
            return swapped

    async def _look(self) -> bool:
        try:
            reference = await asyncio.to_thread(self._registry.holder, self.kind, self.alias)
        except StoreUnavailable as exc:
            self._note(str(exc))
            if self.model is None:
                self.absence = f"the model can't be loaded now ({exc})"
            return False
        if reference is None:
            self.absence = self._none_yet
            return self._put(None, None)
        if self.model is not None and is_same(reference, self.reference):
            self._note("")
            return False
        if is_same(reference, self._refused) and time.monotonic() < self._again_at:
            return False
        # Whatever a broken file makes its reader raise, the one that serves goes on.
        [read] = await asyncio.gather(
            asyncio.to_thread(self._read, reference), return_exceptions=True
        )
        if isinstance(read, BaseException):
            self._refuse(reference, read)
            return False
        return self._put(reference, read)

    def _put(self, reference: ModelReference | None, model: M | None) -> bool:
        before, had = self.reference, self.model
        self.reference, self.model = reference, model
        self._refused, self._pause_s = None, _FIRST_PAUSE_S
        self._note("")
        number = reference.version if reference else "0"
        self._serving.set(float(number) if number.isdigit() else 0.0, self._tags)
        if had is None and model is None:
            return False
        self._swaps.inc(1, self._tags)
        now = f"version {number}" if reference else "nothing"
        then = f"version {before.version}" if before else "nothing"
        _log.info("%s of %s: %s takes the place of %s", self.alias, self.kind, now, then)
        return True

    def _refuse(self, reference: ModelReference, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        if not is_same(reference, self._refused):
            self._pause_s = _FIRST_PAUSE_S
        self._refused = reference
        self._again_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        stays = f"version {self.reference.version} stays" if self.reference else "nothing changes"
        self._note(f"version {reference.version} can't be loaded, {stays}: {error}")
        if self.model is None:
            self.absence = f"the model can't be loaded now ({error})"

    def _note(self, trouble: str) -> None:
        """Keep what is wrong; say it once."""
        if trouble and trouble != self.trouble:
            _log.warning("%s of %s: %s", self.alias, self.kind, trouble)
        self.trouble = trouble

    @property
    def _tags(self) -> dict[str, str]:
        return {"kind": self.kind, "alias": self.alias}


@cache
def _metrics() -> tuple[Counter, Gauge]:
    swaps = Counter(
        "finsight_model_swaps",
        description="Times that a replica put another version of a model in place.",
        tag_keys=("kind", "alias"),
    )
    serving = Gauge(
        "finsight_model_version",
        description="The registry's version that a replica holds; 0 when it holds none.",
        tag_keys=("kind", "alias"),
    )
    return swaps, serving


def is_same(one: ModelReference, other: ModelReference | None) -> bool:
    """Whether both are one version: its tags may change while it serves."""
    return other is not None and (one.version, one.location) == (other.version, other.location)
