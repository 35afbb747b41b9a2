"""A series read slice by slice: so many candles from a moment on, and where the next begin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.interval import Interval
from finsight.domain.quality import Quality
from finsight.domain.resampling import can_resample
from finsight.domain.timeframe import Timeframe, from_ms
from finsight.ports.market import CandleStore
from finsight.services.candle_reading import CandleReading, read_candles

# Holes make a span hold fewer candles than its length says; then twice as much is read.
_SPARE = 1.2


@dataclass(frozen=True, eq=False)
class CandleSlice:
    """Candles of one series, oldest first; `next_start` is None when there are no more.

    `source` is the timeframe they were put together from, or their own; `complete`
    has one flag a candle, as in `CandleReading`.
    """

    candles: CandleTable
    source: Timeframe
    complete: np.ndarray
    next_start: datetime | None = None
    quality: Quality | None = None


async def read_slice(
    store: CandleStore,
    series: Series,
    start: datetime | None,
    end: datetime | None,
    limit: int,
    with_quality: bool = False,
    now: datetime | None = None,
) -> CandleSlice:
    """Return the first `limit` candles of `[start, end)`; without `start`, the newest ones.

    Reads about as much as it returns, however long the series is. A timeframe that
    isn't stored is put together from a shorter one. Candles that had not closed at `now`
    don't count against the quality.

    Raises:
        NotFound: nothing is stored that could give such candles.
        StoreUnavailable: the store did not answer.
    """
    known = await _known_span(store, series)
    stop = min(end, known.end) if end is not None else known.end
    if start is None:
        found = await _newest(store, series, Interval(known.start, stop), limit)
    else:
        found = await _oldest(store, series, Interval(max(start, known.start), stop), limit)
    if not with_quality or not len(found.candles):
        return found
    first, last = found.candles.first_opened_at, found.candles.last_opened_at
    assert first is not None
    assert last is not None
    # Graded over what was asked for, holes at its ends included, but for what is on other slices.
    span = Interval(start or first, found.next_start or end or series.timeframe.next(last))
    graded = await read_candles(store, series, *span, with_quality=True, now=now)
    return CandleSlice(
        found.candles, found.source, found.complete, found.next_start, graded.quality
    )


async def _oldest(store: CandleStore, series: Series, span: Interval, limit: int) -> CandleSlice:
    wanted = limit + 1  # one more says whether there is a next slice, and where it begins
    length = _SPARE * wanted * series.timeframe.duration
    while True:
        until = min(span.end, span.start + length)
        found = await _read(store, series, span.start, until)
        if len(found.candles) >= wanted:
            kept = CandleTable(found.candles.arrow.slice(0, limit))
            next_start = from_ms(int(found.candles.ts_ms[limit]))
            return CandleSlice(kept, found.source, found.complete[:limit], next_start)
        if until >= span.end:
            return CandleSlice(found.candles, found.source, found.complete)
        length *= 2


async def _newest(store: CandleStore, series: Series, span: Interval, limit: int) -> CandleSlice:
    length = _SPARE * limit * series.timeframe.duration
    while True:
        since = max(span.start, span.end - length)
        found = await _read(store, series, since, span.end)
        if len(found.candles) >= limit or since <= span.start:
            return CandleSlice(found.candles.tail(limit), found.source, found.complete[-limit:])
        length *= 2


async def _read(
    store: CandleStore, series: Series, start: datetime, end: datetime
) -> CandleReading:
    if start >= end:
        none = np.zeros(0, dtype=bool)
        return CandleReading(series, series.timeframe, CandleTable.empty(), none)
    return await read_candles(store, series, start, end)


async def _known_span(store: CandleStore, series: Series) -> Interval:
    """From the oldest to the newest candle that could be part of the answer.

    Raises: NotFound, StoreUnavailable.
    """
    firsts, lasts = [], []
    for stored in await store.list_series():
        same = (stored.exchange, stored.symbol) == (series.exchange, series.symbol)
        if same and can_resample(stored.timeframe, series.timeframe):
            summary = await store.summary(stored)
            firsts += [summary.first] if summary.first else []
            lasts += [summary.last] if summary.last else []
    if not firsts:
        # It knows how to say what there is instead.
        now = from_ms(0)
        await read_candles(store, series, now, series.timeframe.next(now))
        return Interval(now, now)
    timeframe = series.timeframe
    return Interval(timeframe.floor(min(firsts)), timeframe.next(timeframe.floor(max(lasts))))
