"""Keeps the series of one exchange up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from finsight import wiring
from finsight.domain.backfill import Backfill
from finsight.domain.candle import Series
from finsight.domain.collector import CollectedSeries
from finsight.domain.errors import FinSightError, SourceUnavailable, StoreUnavailable
from finsight.domain.health import PartHealth, PartState
from finsight.domain.timeframe import Timeframe
from finsight.ports.events import EventBus
from finsight.ports.market import Exchange
from finsight.ports.state import StateStore
from finsight.services.backfill_queue import BackfillQueue
from finsight.services.candle_collection import CandleCollection
from finsight.services.series_following import SeriesFollower
from finsight.settings import Settings

log = logging.getLogger(__name__)

_OPEN_AGAIN_S = 1.0
_OPENED_WITHIN_S = 8.0


@dataclass
class _Following:
    wanted: CollectedSeries
    follower: SeriesFollower
    task: asyncio.Task[None]


@dataclass
class _Opened:
    """What is open while the collector runs."""

    exchange: Exchange
    bus: EventBus
    state: StateStore
    collection: CandleCollection
    queue: BackfillQueue


class CandleCollector:
    """One exchange, one client, one rate limiter: an address has one quota there.

    Each series waits for one request at a time, so all get their turn. Remembers
    nothing of its own: the candle store says where each series is, the state store
    which backfills were asked for. So it may be killed at any moment.
    """

    def __init__(self, settings: Settings, exchange: str) -> None:
        self._settings = settings
        self._exchange = exchange
        self._clock = wiring.open_clock(settings)
        self._wanted: dict[str, CollectedSeries] = {}
        self._following: dict[str, _Following] = {}
        self._opened: _Opened | None = None
        self._is_open = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self._refusal: FinSightError | None = None

    async def ensure_running(self, wanted: Sequence[CollectedSeries]) -> list[PartHealth]:
        """Collect exactly `wanted` from now on; say how each is. Never waits for anything."""
        self._wanted = {series.id: series for series in wanted}
        if self._running is None or self._running.done():
            self._note_end(self._running)
            self._running = asyncio.get_running_loop().create_task(self._run())
        self._follow_what_is_wanted()
        return [self._health_of(id_) for id_ in self._wanted]

    async def backfill(
        self, series: Series, start: datetime, end: datetime, gaps_only: bool = False
    ) -> str:
        """Queue a backfill of `[start, end)`; return its id. Raises: StoreUnavailable."""
        return await (await self._ports()).queue.add(series, start, end, gaps_only)

    async def backfills(self) -> list[Backfill]:
        """Return those of this exchange, oldest first. Raises: StoreUnavailable."""
        return await (await self._ports()).queue.all()

    async def cancel_backfill(self, backfill_id: str) -> Backfill:
        """Stop one; what it stored stays. Raises: NotFound, StoreUnavailable."""
        return await (await self._ports()).queue.cancel(backfill_id)

    async def exchange_symbols(self) -> list[str]:
        """Return what the exchange lists. Raises: as `Exchange.symbols`."""
        return await (await self._ports()).exchange.symbols()

    async def exchange_timeframes(self) -> list[Timeframe]:
        """Return the timeframes it offers, shortest first."""
        return (await self._ports()).exchange.timeframes()

    async def stop(self) -> None:
        """Stop collecting and give back every connection."""
        self._wanted = {}
        self._follow_what_is_wanted()
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def _run(self) -> None:
        """Open what is needed, however long it takes, then work off backfills."""
        self._opened = await self._open()
        try:
            self._is_open.set()
            self._follow_what_is_wanted()
            await self._opened.queue.run()
        finally:
            self._is_open.clear()
            opened, self._opened = self._opened, None
            await _cancelled([following.task for following in self._following.values()])
            self._following.clear()
            await opened.exchange.close()
            await opened.bus.close()
            await opened.state.close()

    async def _open(self) -> _Opened:
        while True:
            try:
                bus = wiring.open_event_bus(self._settings)
                state = wiring.open_state_store(self._settings)
                store = await asyncio.to_thread(wiring.open_candle_store, self._settings)
                exchange = wiring.open_exchange(self._settings, self._exchange)
            except (StoreUnavailable, SourceUnavailable) as exc:
                self._problem = str(exc)
                await asyncio.sleep(_OPEN_AGAIN_S)
            except FinSightError as exc:
                # A venue that ccxt doesn't know, an address that is wrong: for a person.
                self._refusal = exc
                log.error("nothing can be collected from %s: %s", self._exchange, exc)
                await asyncio.Event().wait()
            else:
                self._problem = None
                collection = CandleCollection(exchange, store, bus, self._clock)
                queue = BackfillQueue(self._exchange, collection, state, self._clock)
                return _Opened(exchange, bus, state, collection, queue)

    async def _ports(self) -> _Opened:
        if self._refusal is not None:
            raise self._refusal
        try:
            await asyncio.wait_for(self._is_open.wait(), _OPENED_WITHIN_S)
        except TimeoutError as exc:
            raise StoreUnavailable(
                self._problem or f"the collector of {self._exchange} is still starting"
            ) from exc
        assert self._opened is not None
        return self._opened

    def _follow_what_is_wanted(self) -> None:
        if self._opened is None:
            return
        for id_, following in list(self._following.items()):
            if self._wanted.get(id_) != following.wanted:
                following.task.cancel()
                del self._following[id_]
            elif following.task.done() and _died(following.task):
                self._note_end(following.task)
                del self._following[id_]
        for id_, wanted in self._wanted.items():
            if id_ not in self._following:
                follower = SeriesFollower(wanted, self._opened.collection, self._clock)
                task = asyncio.get_running_loop().create_task(follower.run())
                self._following[id_] = _Following(wanted, follower, task)

    def _health_of(self, id_: str) -> PartHealth:
        following = self._following.get(id_)
        if following is not None:
            return following.follower.health()
        if self._refusal is not None:
            return PartHealth(part=id_, state=PartState.FAILED, detail=str(self._refusal))
        return PartHealth(
            part=id_, state=PartState.STARTING, detail=self._problem or "is being started"
        )

    def _note_end(self, task: asyncio.Task[None] | None) -> None:
        if task is not None and _died(task):
            log.error("a part of the collector of %s died", self._exchange, exc_info=_error(task))


def _died(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and _error(task) is not None


def _error(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
