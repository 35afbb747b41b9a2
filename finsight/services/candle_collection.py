"""Brings candles from an exchange into the store, page by page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import FinSightError
from finsight.domain.events import CandlesCollected
from finsight.domain.interval import Interval, subtract, union
from finsight.ports.clock import Clock
from finsight.ports.events import EventBus
from finsight.ports.market import CandlePage, CandleStore, Exchange
from finsight.services.retrying import Retrying


@dataclass(frozen=True)
class CollectionProgress:
    """How far a collection has come, after each flush to the store.

    `candles` were stored so far; `reached` of the way from `start` to `end` is done;
    `candles_per_s` is the rate since it began.
    """

    series: Series
    candles: int
    start: datetime
    end: datetime
    reached: datetime
    candles_per_s: float

    @property
    def done(self) -> float:
        """The share of the span that was asked for, 0 to 1."""
        whole = (self.end - self.start).total_seconds()
        share = (self.reached - self.start).total_seconds() / whole if whole > 0 else 1.0
        return min(1.0, max(0.0, share))


@dataclass(frozen=True)
class Collected:
    """What a collection did: candles stored, spans answered for, what the venue said."""

    candles: int
    covered: tuple[Interval, ...] = ()
    notes: tuple[str, ...] = ()
    newest: datetime | None = None


OnProgress = Callable[[CollectionProgress], None]
OnTrouble = Callable[[FinSightError], None]


@dataclass
class CandleCollection:
    """Collects ranges of one exchange's series.

    Idempotent: candles and coverage are upserted, in that order, so a range that was
    cut short is collected again from what the store covers. An unavailable source,
    store or event bus is waited for (`retrying`); other errors end the collection,
    with what was fetched before them stored.

    Attributes:
        flush_rows: candles kept in memory before they are stored.
        flush_s: seconds after which they are stored even if fewer.
    """

    exchange: Exchange
    store: CandleStore
    bus: EventBus | None
    clock: Clock
    retrying: Retrying = field(default_factory=Retrying)
    flush_rows: int = 50_000
    flush_s: float = 5.0

    def __post_init__(self) -> None:
        # Apart from `retrying`: the store doesn't wait because a venue asked for a pause.
        self.storing = replace(self.retrying)

    async def backfill(
        self,
        series: Series,
        start: datetime,
        end: datetime,
        on_progress: OnProgress | None = None,
        on_trouble: OnTrouble | None = None,
    ) -> Collected:
        """Collect what of `[start, end)` was never answered for.

        Raises: NotFound, InvalidInput, SourceRefused; and SourceUnavailable or
            StoreUnavailable when `retrying` gives up.
        """
        wanted = [Interval(start, min(end, series.timeframe.floor(self.clock.now())))]
        had = await self.storing.call(lambda: self.store.coverage(series), on_trouble)
        return await self.collect(series, subtract(wanted, had), on_progress, on_trouble)

    async def fill_gaps(
        self,
        series: Series,
        start: datetime | None = None,
        end: datetime | None = None,
        on_progress: OnProgress | None = None,
        on_trouble: OnTrouble | None = None,
    ) -> Collected:
        """Collect only the holes between what was answered for. Raises: as `backfill`."""
        had = await self.storing.call(lambda: self.store.coverage(series), on_trouble)
        if not had:
            return Collected(0)
        first = had[0].start if start is None else max(had[0].start, start)
        last = had[-1].end if end is None else min(had[-1].end, end)
        holes = subtract([Interval(first, last)], had)
        return await self.collect(series, holes, on_progress, on_trouble)

    async def collect(
        self,
        series: Series,
        spans: Sequence[Interval],
        on_progress: OnProgress | None = None,
        on_trouble: OnTrouble | None = None,
    ) -> Collected:
        """Collect `spans`, oldest first. Raises: as `backfill`."""
        run = _Run(self, series, tuple(spans), on_progress, on_trouble)
        return await run.to_the_end()

    async def collect_range(
        self, series: Series, start: datetime, end: datetime, on_trouble: OnTrouble | None = None
    ) -> Collected:
        """Collect `[start, end)` even where it was answered for. Raises: as `backfill`."""
        return await self.collect(series, [Interval(start, end)], None, on_trouble)


@dataclass
class _Run:
    """One collection under way: fetches on while the last flush is being written."""

    of: CandleCollection
    series: Series
    spans: tuple[Interval, ...]
    on_progress: OnProgress | None
    on_trouble: OnTrouble | None
    pages: list[CandlePage] = field(default_factory=list)
    buffered: int = 0
    flushed_at: float = field(default_factory=time.monotonic)
    began_at: float = field(default_factory=time.monotonic)
    writing: asyncio.Task[None] | None = None
    stored: int = 0
    covered: list[Interval] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    newest: datetime | None = None

    async def to_the_end(self) -> Collected:
        try:
            for span in self.spans:
                await self._fetch_span(span)
        except asyncio.CancelledError:
            await self._abandon()
            raise
        except FinSightError:
            await self._flush()
            await self._written()
            raise
        await self._flush()
        await self._written()
        return Collected(self.stored, tuple(self.covered), tuple(self.notes), self.newest)

    async def _fetch_span(self, span: Interval) -> None:
        cursor = span.start
        while cursor < span.end:
            page = await self._fetch(cursor, span.end)
            if page.note is not None and page.note not in self.notes:
                self.notes.append(page.note)
            self.pages.append(page)
            self.buffered += len(page.candles)
            if page.covered.end <= cursor:
                # Nothing more has closed: the follower asks again later.
                return
            cursor = page.covered.end
            waited_s = time.monotonic() - self.flushed_at
            if self.buffered >= self.of.flush_rows or waited_s >= self.of.flush_s:
                await self._flush()

    async def _fetch(self, start: datetime, end: datetime) -> CandlePage:
        fetch = self.of.exchange.fetch_page
        return await self.of.retrying.call(lambda: fetch(self.series, start, end), self.on_trouble)

    async def _flush(self) -> None:
        """Hand the pages to a writer; only one writes at a time, in order."""
        await self._written()
        pages, self.pages, self.buffered = self.pages, [], 0
        self.flushed_at = time.monotonic()
        covered = union(page.covered for page in pages)
        candles = _joined([page.candles for page in pages])
        if covered or len(candles):
            self.writing = _background(self._write(candles, covered))

    async def _write(self, candles: CandleTable, covered: list[Interval]) -> None:
        retry = self.of.storing.call
        await retry(lambda: self.of.store.upsert(self.series, candles, covered), self.on_trouble)
        self.stored += len(candles)
        self.covered = union([*self.covered, *covered])
        if len(candles):
            self.newest = candles.last_opened_at
            await self._announce(candles)
        self._report(covered)

    async def _announce(self, candles: CandleTable) -> None:
        bus, first, last = self.of.bus, candles.first_opened_at, candles.last_opened_at
        if bus is None or first is None or last is None:
            return
        event = CandlesCollected(
            happened_at=self.of.clock.now(),
            series=self.series,
            count=len(candles),
            first=first,
            last=last,
        )
        await self.of.storing.call(lambda: bus.publish([event]), self.on_trouble)

    def _report(self, covered: list[Interval]) -> None:
        if self.on_progress is None or not self.spans:
            return
        start, end = self.spans[0].start, self.spans[-1].end
        reached = covered[-1].end if covered else start
        seconds = max(time.monotonic() - self.began_at, 1e-9)
        self.on_progress(
            CollectionProgress(self.series, self.stored, start, end, reached, self.stored / seconds)
        )

    async def _written(self) -> None:
        if self.writing is not None:
            writing, self.writing = self.writing, None
            await writing

    async def _abandon(self) -> None:
        if self.writing is not None:
            self.writing.cancel()
            with suppress(asyncio.CancelledError, FinSightError):
                await self.writing


def _background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work)


def _joined(tables: list[CandleTable]) -> CandleTable:
    """Join pages that follow each other; each was checked when it was made."""
    filled = [table.arrow for table in tables if len(table)]
    if not filled:
        return CandleTable.empty()
    return CandleTable(pa.concat_tables(filled))
