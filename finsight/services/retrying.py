"""What to do when an upstream or our own storage does not answer: wait, and ask again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from finsight.domain.errors import (
    FinSightError,
    SourceBusy,
    SourceUnavailable,
    StoreUnavailable,
)

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


@dataclass
class Retrying:
    """Retries what may work later; lets every other error through.

    `SourceBusy` waits as long as it was told to, and makes every other call through
    the same `Retrying` wait as well: a venue counts requests by address, not by
    series. Otherwise the pause doubles from `first_pause_s` to `longest_pause_s`,
    and a random part of it (up to half) is taken off, so that many callers don't
    return together.

    Attributes:
        max_attempts: give up then and raise the last error; None never gives up.
    """

    first_pause_s: float = 0.5
    longest_pause_s: float = 60.0
    max_attempts: int | None = None
    sleep: Sleep = asyncio.sleep
    random: random.Random = field(default_factory=random.Random)
    _free_at: float = field(default=0.0, init=False)

    async def call(
        self,
        what: Callable[[], Awaitable[T]],
        on_trouble: Callable[[FinSightError], None] | None = None,
    ) -> T:
        """Return what `what` returns, however often it takes.

        `on_trouble` hears of every failure that is retried.
        """
        attempt = 0
        while True:
            await self._wait_until_free()
            try:
                return await what()
            except (SourceUnavailable, StoreUnavailable) as exc:
                attempt += 1
                if self.max_attempts is not None and attempt >= self.max_attempts:
                    raise
                if on_trouble is not None:
                    on_trouble(exc)
                await self._pause_after(exc, attempt)

    async def _wait_until_free(self) -> None:
        wait_s = self._free_at - asyncio.get_running_loop().time()
        if wait_s > 0:
            await self.sleep(wait_s)

    async def _pause_after(self, error: FinSightError, attempt: int) -> None:
        if isinstance(error, SourceBusy) and error.retry_after_s is not None:
            free_at = asyncio.get_running_loop().time() + error.retry_after_s
            self._free_at = max(self._free_at, free_at)
            await self.sleep(error.retry_after_s)
            # However long the pause really was, it has been kept.
            if self._free_at == free_at:
                self._free_at = 0.0
            return
        pause_s = min(self.longest_pause_s, self.first_pause_s * 2 ** min(attempt - 1, 30))
        await self.sleep(pause_s * (1 - self.random.random() / 2))
