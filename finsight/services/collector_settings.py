"""What is collected: what the settings name, changed by what was decided at run time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pydantic import ValidationError

from finsight.domain.collector import CollectedSeries, Collector, NewsFeed
from finsight.domain.errors import FinSightError, InvalidInput, NotFound
from finsight.ports.clock import Clock
from finsight.ports.state import StateStore

_log = logging.getLogger(__name__)

_PREFIX = "collectors/"
_REMOVED: dict[str, Any] = {"removed": True}

Check = Callable[[Collector], Awaitable[None]]
"""Tries whether a collector could be opened at all. Raises: FinSightError, saying why not."""


class CollectorSettings:
    """The collectors wanted, in a stable order: series, then feeds, each by id.

    A decision made at run time is kept under "collectors/<id>" in the state store and
    outweighs the settings until it is changed, also over restarts: one that was
    stopped stays stopped, and one that was removed stays removed.
    """

    def __init__(
        self,
        state: StateStore,
        series: Sequence[CollectedSeries],
        feeds: Sequence[NewsFeed],
        clock: Clock,
        check: Check,
    ) -> None:
        self._state = state
        self._clock = clock
        self._check = check
        named = [Collector(candles=one) for one in series] + [Collector(news=f) for f in feeds]
        self._named = {collector.id: collector for collector in named}

    async def all(self) -> list[Collector]:
        """Return every collector, stopped ones included. Raises: StoreUnavailable."""
        wanted = dict(self._named)
        for key, document in (await self._state.load_all(_PREFIX)).items():
            collector_id = key.removeprefix(_PREFIX)
            if document == _REMOVED:
                wanted.pop(collector_id, None)
                continue
            try:
                wanted[collector_id] = Collector.model_validate(document)
            except ValidationError as exc:
                # Written by another version: what the settings say is the best there is.
                _log.warning("what is kept of the collector %s can't be read: %s", key, exc)
        return sorted(wanted.values(), key=lambda one: (one.candles is None, one.id))

    async def set(self, collector: Collector) -> Collector:
        """Add, change, start or stop `collector`, and return it.

        Raises:
            InvalidInput: nothing could be collected so; the message says why.
            StoreUnavailable
        """
        known = {one.id: one for one in await self.all()}.get(collector.id)
        # Whoever starts or stops what is there already need not reach the venue.
        if known is None or known.model_copy(update={"running": collector.running}) != collector:
            await self._refuse_impossible(collector)
        await self._state.save(_PREFIX + collector.id, collector.model_dump(mode="json"))
        return collector

    async def remove(self, collector_id: str) -> None:
        """Collect it no more, whatever the settings name; what was collected stays.

        Raises: NotFound, StoreUnavailable.
        """
        if collector_id not in {one.id for one in await self.all()}:
            raise NotFound(f"nothing is collected under '{collector_id}'")
        if collector_id in self._named:
            await self._state.save(_PREFIX + collector_id, _REMOVED)
        else:
            await self._state.delete(_PREFIX + collector_id)

    async def _refuse_impossible(self, collector: Collector) -> None:
        candles, news = collector.candles, collector.news
        if candles is not None and candles.since > self._clock.now():
            raise InvalidInput(
                f"{candles.id} should begin at {candles.since.isoformat()}, which is in the "
                "future; `since` is where the first backfill begins"
            )
        if news is not None and news.kind == "tavily" and not news.query:
            raise InvalidInput(f"the search {news.name} needs a `query`: what to look for")
        try:
            await self._check(collector)
        except InvalidInput:
            raise
        except FinSightError as exc:
            raise InvalidInput(f"{collector.id} can't be collected: {exc}") from exc
