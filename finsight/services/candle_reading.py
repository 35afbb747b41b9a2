"""Reading candles: ranges, longer timeframes, quality, statistics and gaps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.gaps import GapReport, find_gaps
from finsight.domain.interval import Interval
from finsight.domain.quality import Quality, grade_quality
from finsight.domain.resampling import can_resample, resample
from finsight.domain.timeframe import Timeframe, UtcDatetime
from finsight.ports.market import CandleStore

_YEAR = timedelta(days=365.25)
_INSTANT = timedelta(milliseconds=1)


@dataclass(frozen=True, eq=False)
class CandleReading:
    """Candles of a range, and how they came about.

    `source` is the timeframe that is stored: another than `series.timeframe`
    when the candles were put together from shorter ones. `complete` has one flag
    a candle: False where source candles are missing that nobody has fetched.
    """

    series: Series
    source: Timeframe
    candles: CandleTable
    complete: np.ndarray
    quality: Quality | None = None


class SeriesStatistics(BaseModel):
    """What one series did over a range.

    Units: prices are in quote currency, `volume` in base currency;
    `price_change` and shares are fractions (0.05 is 5 %).
    `volatility` is the standard deviation of ln(close / close before) from one
    candle to the next, gaps left out; `volatility_yearly` scales it by the square
    root of the candles in a year of 365.25 days.
    """

    model_config = ConfigDict(frozen=True)

    series: Series
    candles: int = Field(ge=0)
    first: UtcDatetime | None = Field(description="when the oldest candle opened")
    last: UtcDatetime | None = Field(description="when the newest candle opened")
    first_open: float | None = None
    last_close: float | None = None
    price_change: float | None = None
    highest: float | None = None
    lowest: float | None = None
    volume: float = 0.0
    volatility: float | None = None
    volatility_yearly: float | None = None
    missing_share: float = Field(ge=0, le=1, description="opening times without a candle")
    not_fetched_share: float = Field(ge=0, le=1, description="of these, those nobody asked for")


async def read_candles(
    store: CandleStore,
    series: Series,
    start: datetime,
    end: datetime,
    with_quality: bool = False,
    now: datetime | None = None,
) -> CandleReading:
    """Read the candles opening in `[start, end)`.

    Where the timeframe isn't stored, they are put together from the longest
    shorter one that is. Candles that had not closed at `now` don't count as missing.

    Raises:
        InvalidInput: `end` is not after `start`.
        NotFound: nothing is stored of this symbol that could give such candles.
        StoreUnavailable: the store did not answer.
    """
    _check_range(start, end)
    source = await _source_of(store, series)
    span = Interval(start, end) if source == series else _whole(series.timeframe, start, end)
    stored = await store.read(source, span.start, span.end)
    coverage = await store.coverage(source) if source != series or with_quality else []
    if source == series:
        candles, complete = stored, np.ones(len(stored), dtype=bool)
    else:
        longer = resample(stored, source.timeframe, series.timeframe, coverage)
        candles, complete = longer.candles, longer.complete
    quality = None
    if with_quality:
        judged_end = _closed_end(source.timeframe, span.end, now)
        gaps = find_gaps(source.timeframe, stored.ts_ms, coverage, span.start, judged_end)
        quality = grade_quality(stored, gaps)
    return CandleReading(series, source.timeframe, candles, complete, quality)


async def report_gaps(
    store: CandleStore,
    series: Series,
    start: datetime | None = None,
    end: datetime | None = None,
    now: datetime | None = None,
) -> GapReport:
    """Report a series' gaps in `[start, end)`; without them, over all that is known of it.

    Candles that had not closed at `now` don't count as missing.

    Raises:
        InvalidInput: `end` is not after `start`.
        NotFound: nothing is stored of the series.
        StoreUnavailable: the store did not answer.
    """
    _, gaps = await _candles_and_gaps(store, series, start, end, now)
    return gaps


async def describe_series(
    store: CandleStore,
    series: Series,
    start: datetime | None = None,
    end: datetime | None = None,
    now: datetime | None = None,
) -> SeriesStatistics:
    """Return the statistics of a stored series in `[start, end)`, or of all of it.

    Candles that had not closed at `now` don't count as missing.

    Raises: as `report_gaps`.
    """
    return _statistics(series, *await _candles_and_gaps(store, series, start, end, now))


async def _candles_and_gaps(
    store: CandleStore,
    series: Series,
    start: datetime | None,
    end: datetime | None,
    now: datetime | None,
) -> tuple[CandleTable, GapReport]:
    coverage = await store.coverage(series)
    known = await _known_span(store, series, coverage)
    if known is None:
        raise NotFound(f"nothing is stored of {series}; collect or backfill it first")
    start, end = start or known.start, end or known.end
    _check_range(start, end)
    judged_end = _closed_end(series.timeframe, end, now)
    table = await store.read(series, start, end)
    gaps = find_gaps(series.timeframe, table.ts_ms, coverage, start, judged_end, known)
    return table, gaps


def _statistics(series: Series, table: CandleTable, gaps: GapReport) -> SeriesStatistics:
    expected = max(1, gaps.expected)
    shares = {
        "missing_share": (gaps.not_fetched + gaps.no_trades) / expected,
        "not_fetched_share": gaps.not_fetched / expected,
    }
    if not len(table):
        return SeriesStatistics(series=series, candles=0, first=None, last=None, **shares)
    first_open, last_close = float(table.column("open")[0]), float(table.column("close")[-1])
    volatility = _volatility(table, series.timeframe)
    yearly = np.sqrt(_YEAR / series.timeframe.duration)
    return SeriesStatistics(
        series=series,
        candles=len(table),
        first=table.first_opened_at,
        last=table.last_opened_at,
        first_open=first_open,
        last_close=last_close,
        price_change=last_close / first_open - 1,
        highest=float(table.column("high").max()),
        lowest=float(table.column("low").min()),
        volume=float(table.column("volume").sum()),
        volatility=volatility,
        volatility_yearly=None if volatility is None else float(volatility * yearly),
        **shares,
    )


def _volatility(table: CandleTable, timeframe: Timeframe) -> float | None:
    ts = table.ts_ms
    neighbours = timeframe.next_ms(ts[:-1]) == ts[1:]
    returns = np.diff(np.log(table.column("close")))[neighbours]
    return float(returns.std(ddof=1)) if len(returns) > 1 else None


async def _source_of(store: CandleStore, series: Series) -> Series:
    """The stored series to read from: itself, or the longest one that adds up to it."""
    if (await store.summary(series)).candles:
        return series
    stored = [
        s
        for s in await store.list_series()
        if (s.exchange, s.symbol) == (series.exchange, series.symbol)
    ]
    if series in stored:
        return series
    fitting = [s for s in stored if can_resample(s.timeframe, series.timeframe)]
    if not fitting:
        have = ", ".join(str(s.timeframe) for s in stored) or "nothing"
        raise NotFound(
            f"no {series.timeframe} candles of {series.symbol} on {series.exchange} are stored, "
            f"and none that add up to them (stored: {have})"
        )
    return max(fitting, key=lambda s: s.timeframe.duration)


async def _known_span(
    store: CandleStore, series: Series, coverage: list[Interval]
) -> Interval | None:
    """From the first to the last moment the store knows anything of, or None."""
    summary = await store.summary(series)
    spans = list(coverage)
    if summary.first is not None and summary.last is not None:
        spans.append(Interval(summary.first, series.timeframe.next(summary.last)))
    if not spans:
        return None
    return Interval(min(span.start for span in spans), max(span.end for span in spans))


def _whole(timeframe: Timeframe, start: datetime, end: datetime) -> Interval:
    """From the first opening in `[start, end)` to the close of the last one."""
    first, last = timeframe.ceil(start), timeframe.floor(end - _INSTANT)
    return Interval(first, timeframe.next(last)) if first <= last else Interval(first, first)


def _closed_end(timeframe: Timeframe, end: datetime, now: datetime | None) -> datetime:
    """`end`, or the opening time of the candle still being formed at `now`, if that is earlier."""
    return end if now is None else min(end, timeframe.floor(now))


def _check_range(start: datetime, end: datetime) -> None:
    if start >= end:
        raise InvalidInput(
            f"the range ends at {end.isoformat()}, which is not after its start, "
            f"{start.isoformat()}"
        )
