"""Reading a news source once: store what is new, then tell the others."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from finsight.domain.article import Article
from finsight.domain.collector import NewsFeed
from finsight.domain.errors import StoreUnavailable
from finsight.domain.events import ArticleCollected
from finsight.ports.clock import Clock
from finsight.ports.events import EventBus
from finsight.ports.news import ArticleStore, NewsSource, Validators
from finsight.ports.state import StateStore
from finsight.services.symbol_tags import tagged

_ANNOUNCED_AT_ONCE = 200


@dataclass(frozen=True)
class Reading:
    """What one reading of a source brought. `warnings` say what could not be read."""

    read: int = 0
    new: int = 0
    announced: int = 0
    unchanged: bool = False
    warnings: tuple[str, ...] = ()


class NewsCollection:
    """Brings articles from sources into the store, and announces each of them.

    The store is the outbox: an article is stored, then published, then marked. A
    crash between two of these steps loses nothing, because what is stored and not
    marked is published at the next reading of any source. The source's validators are
    saved last: had they been saved first, a crash would have made the source
    answer "unchanged" about articles that nobody stored.
    """

    def __init__(self, store: ArticleStore, bus: EventBus, state: StateStore, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._state = state
        self._clock = clock
        self._announcing = asyncio.Lock()
        # What each feed's last stored answer was given, by name: its address and validators.
        self._stored: dict[str, tuple[str | None, Validators]] = {}
        self._read: dict[str, float] = {}

    async def collect(self, feed: NewsFeed, source: NewsSource) -> Reading:
        """Read `source` once.

        Raises:
            SourceUnavailable, SourceRefused: as `NewsSource.fetch`; nothing was stored.
            StoreUnavailable: what was stored is announced at the next reading.
        """
        announced, bus_down = await self._announce_if_possible()
        if bus_down is not None and time.monotonic() - self._read_at(feed) < feed.poll_s:
            raise bus_down
        before = await self._validators(feed)
        answer = await source.fetch(before)
        articles = [tagged(article) for article in answer.articles]
        new = await self._store.add(articles) if articles else []
        if not answer.unchanged:
            self._stored[feed.name] = (feed.url, answer.validators)
        self._read[feed.name] = time.monotonic()
        if bus_down is not None:
            raise bus_down
        if new:
            announced += await self.announce_pending()
        if not answer.unchanged and answer.validators != before:
            await self._state.save(_key(feed), _document(feed, answer.validators))
        return Reading(
            read=len(articles),
            new=len(new),
            announced=announced,
            unchanged=answer.unchanged,
            warnings=answer.warnings,
        )

    def _read_at(self, feed: NewsFeed) -> float:
        return self._read.get(feed.name, -float("inf"))

    async def _announce_if_possible(self) -> tuple[int, StoreUnavailable | None]:
        """Announce what is pending; a bus that is down doesn't stop the feed from being read.

        What a feed holds now it may have dropped by the time the bus is back.
        """
        try:
            return await self.announce_pending(), None
        except StoreUnavailable as exc:
            return 0, exc

    async def announce_pending(self) -> int:
        """Publish what is stored but unannounced, oldest first; return how many.

        Raises: StoreUnavailable.
        """
        announced = 0
        # One at a time: two readings at once would both publish the same articles.
        async with self._announcing:
            while pending := await self._store.unannounced(_ANNOUNCED_AT_ONCE):
                await self._bus.publish([self._event(article) for article in pending])
                await self._store.mark_announced([article.id for article in pending])
                announced += len(pending)
        return announced

    def _event(self, article: Article) -> ArticleCollected:
        return ArticleCollected(
            happened_at=self._clock.now(),
            article_id=article.id,
            title=article.title,
            source=article.source,
            symbols=article.symbols,
        )

    async def _validators(self, feed: NewsFeed) -> Validators:
        """Those of the last answer; none when that answer's articles can't be in the store."""
        url, validators = self._stored.get(feed.name, (None, Validators()))
        if feed.name in self._stored and url == feed.url:
            return validators
        try:
            saved = await self._state.load(_key(feed))
        except StoreUnavailable:
            return Validators()
        if saved is None or saved.get("url") != feed.url:
            return Validators()
        # The state may live in another place than the articles, and outlive them.
        if feed.name not in {summary.source for summary in await self._store.sources()}:
            return Validators()
        return Validators(saved.get("etag"), saved.get("last_modified"))


def _key(feed: NewsFeed) -> str:
    return f"feeds/{feed.name}"


def _document(feed: NewsFeed, validators: Validators) -> dict[str, Any]:
    return {
        "url": feed.url,
        "etag": validators.etag,
        "last_modified": validators.last_modified,
    }
