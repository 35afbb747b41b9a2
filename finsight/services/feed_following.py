"""Keeping one feed up to date: when to read it again, and how it is."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime

from finsight.domain.collector import NewsFeed
from finsight.domain.errors import (
    FinSightError,
    Misconfigured,
    SourceBusy,
    SourceRefused,
    StoreUnavailable,
)
from finsight.domain.health import PartHealth, PartState
from finsight.ports.clock import Clock
from finsight.ports.news import NewsSource
from finsight.services.news_collection import NewsCollection, Reading

ASK_REFUSED_AGAIN_S = 3600.0
LONGEST_PAUSE_S = 900.0
_FIRST_STORE_PAUSE_S = 0.5

log = logging.getLogger(__name__)


class FeedFollower:
    """Reads one feed every `poll_s` seconds, a little less at random, for ever.

    A feed that doesn't answer is asked less and less often; one that refuses, at
    most once an hour; one that asks for a pause gets it. Other feeds don't notice.
    """

    def __init__(
        self,
        feed: NewsFeed,
        open_source: Callable[[NewsFeed], NewsSource],
        collection: NewsCollection,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._feed = feed
        self._open_source = open_source
        self._collection = collection
        self._clock = clock
        self._sleep = sleep
        self._failures = 0
        self._state = PartState.STARTING
        self._detail = "is being read for the first time"
        self._warned = ""
        self._read_at: datetime | None = None

    async def run(self) -> None:
        """Read the feed until cancelled."""
        source: NewsSource | None = None
        loop = asyncio.get_running_loop()
        try:
            while True:
                began_at = loop.time()
                try:
                    source = source or self._open_source(self._feed)
                    self._note_reading(await self._collection.collect(self._feed, source))
                except FinSightError as exc:
                    await self._sleep(self._pause_after(exc))
                else:
                    pause_s = self._feed.poll_s * random.uniform(0.9, 1.0)
                    await self._sleep(max(0.0, pause_s - (loop.time() - began_at)))
        finally:
            if source is not None:
                await source.close()

    def health(self) -> PartHealth:
        """How the feed is; its age is the time since it was last read."""
        age_s = None
        if self._read_at is not None:
            age_s = max((self._clock.now() - self._read_at).total_seconds(), 0.0)
        return PartHealth(
            part=self._feed.id,
            state=self._state,
            detail=self._detail,
            newest_at=self._read_at,
            age_s=age_s,
        )

    def _note_reading(self, reading: Reading) -> None:
        self._failures = 0
        self._state = PartState.OK
        self._read_at = self._clock.now()
        if reading.new:
            log.info("%s: %d new articles of %d", self._feed.id, reading.new, reading.read)
        if reading.unchanged:
            # It says nothing again of what was wrong with it; only trouble since then is over.
            self._detail = self._warned
            return
        warned = ""
        if reading.warnings:
            warned = f"{len(reading.warnings)} warnings, the first: {reading.warnings[0]}"
            if warned != self._warned:
                log.warning("%s: %s", self._feed.id, "; ".join(reading.warnings))
        self._detail = self._warned = warned

    def _pause_after(self, error: FinSightError) -> float:
        """Note what went wrong; return how long to wait, in seconds."""
        self._failures += 1
        self._detail = str(error)
        jitter = random.uniform(0.75, 1.0)
        if isinstance(error, SourceRefused | Misconfigured):
            self._state = PartState.FAILED
            log.error("%s refused: %s", self._feed.id, error)
            return max(self._feed.poll_s, ASK_REFUSED_AGAIN_S)
        self._state = PartState.LATE
        log.warning("%s: %s", self._feed.id, error)
        poll_s = self._feed.poll_s
        doublings = float(1 << min(self._failures - 1, 20))
        if isinstance(error, StoreUnavailable):
            # It is ours and mends itself in seconds; the feed is not asked more than usual.
            return min(_FIRST_STORE_PAUSE_S * doublings, max(poll_s, 1.0)) * jitter
        pause_s = min(poll_s * doublings, max(poll_s, LONGEST_PAUSE_S)) * jitter
        if isinstance(error, SourceBusy) and error.retry_after_s is not None:
            return max(pause_s, min(error.retry_after_s, 24 * 3600.0))
        return pause_s
