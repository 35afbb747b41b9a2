"""Keeps the news feeds up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from finsight import wiring
from finsight.domain.collector import NewsFeed
from finsight.domain.errors import FinSightError
from finsight.domain.health import PartHealth, PartState
from finsight.ports.events import EventBus
from finsight.ports.state import StateStore
from finsight.services.feed_following import FeedFollower
from finsight.services.news_collection import NewsCollection
from finsight.settings import Settings

log = logging.getLogger(__name__)

_OPEN_AGAIN_S = 1.0


@dataclass
class _Following:
    feed: NewsFeed
    follower: FeedFollower
    task: asyncio.Task[None]


@dataclass
class _Opened:
    """What is open while the collector runs."""

    bus: EventBus
    state: StateStore
    collection: NewsCollection


class NewsCollector:
    """Reads every feed on a schedule of its own, all of them at once.

    Remembers nothing: articles and what is still to be announced are in the article
    store, what a feed was last asked with is in the state store. So it may be
    killed at any moment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = wiring.open_clock(settings)
        self._wanted: dict[str, NewsFeed] = {}
        self._following: dict[str, _Following] = {}
        self._opened: _Opened | None = None
        self._running: asyncio.Task[None] | None = None
        self._problem = "is being started"

    async def ensure_running(self, wanted: Sequence[NewsFeed]) -> list[PartHealth]:
        """Read exactly `wanted` from now on; say how each is. Never waits for anything."""
        self._wanted = {feed.id: feed for feed in wanted}
        if self._running is None or self._running.done():
            _note_end(self._running)
            self._running = asyncio.get_running_loop().create_task(self._run())
        self._follow_what_is_wanted()
        return [self._health_of(id_) for id_ in self._wanted]

    async def stop(self) -> None:
        """Stop reading and give back every connection."""
        self._wanted = {}
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def _run(self) -> None:
        """Open what is needed, however long it takes; close it when cancelled."""
        self._opened = await self._open()
        try:
            self._follow_what_is_wanted()
            await asyncio.Event().wait()
        finally:
            opened, self._opened = self._opened, None
            tasks = [following.task for following in self._following.values()]
            self._following.clear()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            await opened.bus.close()
            await opened.state.close()

    async def _open(self) -> _Opened:
        while True:
            try:
                store = wiring.open_article_store(self._settings)
                bus = wiring.open_event_bus(self._settings)
                state = wiring.open_state_store(self._settings)
            except FinSightError as exc:
                self._problem = str(exc)
                await asyncio.sleep(_OPEN_AGAIN_S)
            else:
                return _Opened(bus, state, NewsCollection(store, bus, state, self._clock))

    def _follow_what_is_wanted(self) -> None:
        if self._opened is None:
            return
        for id_, following in list(self._following.items()):
            if self._wanted.get(id_) != following.feed:
                following.task.cancel()
                del self._following[id_]
            elif following.task.done():
                _note_end(following.task)
                del self._following[id_]
        for id_, feed in self._wanted.items():
            if id_ not in self._following:
                follower = FeedFollower(
                    feed,
                    partial(wiring.open_news_source, self._settings),
                    self._opened.collection,
                    self._clock,
                )
                task = asyncio.get_running_loop().create_task(follower.run())
                self._following[id_] = _Following(feed, follower, task)

    def _health_of(self, id_: str) -> PartHealth:
        following = self._following.get(id_)
        if following is not None:
            return following.follower.health()
        return PartHealth(part=id_, state=PartState.STARTING, detail=self._problem)


def _note_end(task: asyncio.Task[None] | None) -> None:
    """Say why a task that should never end did; it is started again."""
    if task is not None and not task.cancelled() and (error := task.exception()) is not None:
        log.error("a part of the news collector died", exc_info=error)
