"""Reading from a real store: longer timeframes, quality, statistics, gaps."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from finsight.adapters.filesystems import open_folder
from finsight.adapters.market.parquet_candles import ParquetCandleStore
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.gaps import GapKind, GapPlace
from finsight.domain.interval import Interval
from finsight.domain.resampling import resample
from finsight.domain.timeframe import Timeframe
from finsight.services.candle_reading import describe_series, read_candles, report_gaps
from tests.builders import BTC_HOURLY, BTC_MINUTES, HOUR, NOON, a_walk, candles_at

MINUTE = timedelta(minutes=1)
BTC_DAILY = BTC_HOURLY.model_copy(update={"timeframe": Timeframe.D1})


@pytest.fixture
def store(tmp_path: Path) -> ParquetCandleStore:
    return ParquetCandleStore(open_folder(str(tmp_path)))


async def test_a_stored_timeframe_is_read_as_it_is(store: ParquetCandleStore) -> None:
    await store.upsert(BTC_HOURLY, a_walk(48))
    found = await read_candles(store, BTC_HOURLY, NOON, NOON + 48 * HOUR)
    assert found.candles == a_walk(48)
    assert found.source is Timeframe.H1
    assert found.complete.all()
    assert found.quality is None


async def test_a_timeframe_that_is_not_stored_comes_from_the_longest_that_fits(
    store: ParquetCandleStore,
) -> None:
    midnight = datetime(2024, 1, 1, tzinfo=UTC)
    hours = a_walk(72, midnight)
    await store.upsert(BTC_MINUTES, candles_at(midnight))
    await store.upsert(BTC_HOURLY, hours)
    found = await read_candles(store, BTC_DAILY, midnight + HOUR, midnight + 49 * HOUR)
    expected = resample(hours, Timeframe.H1, Timeframe.D1).candles
    assert found.source is Timeframe.H1
    # Days that open in the range, whole: the first opened before it, the last closes after it.
    assert found.candles == CandleTable(expected.arrow.slice(1, 2))
    assert found.complete.tolist() == [True, True]


async def test_what_can_not_be_made_from_what_is_stored_is_not_found(
    store: ParquetCandleStore,
) -> None:
    await store.upsert(BTC_HOURLY, a_walk(5))
    with pytest.raises(NotFound, match="stored: 1h"):
        await read_candles(store, BTC_MINUTES, NOON, NOON + HOUR)


async def test_a_range_that_ends_before_it_starts_is_refused(store: ParquetCandleStore) -> None:
    with pytest.raises(InvalidInput, match="not after its start"):
        await read_candles(store, BTC_HOURLY, NOON, NOON)


async def test_a_candle_that_has_not_closed_is_not_missing(store: ParquetCandleStore) -> None:
    await store.upsert(BTC_HOURLY, a_walk(10), [Interval(NOON, NOON + 10 * HOUR)])
    now = NOON + 10 * HOUR + 20 * MINUTE
    unaware = await read_candles(store, BTC_HOURLY, NOON, NOON + 24 * HOUR, with_quality=True)
    aware = await read_candles(store, BTC_HOURLY, NOON, NOON + 24 * HOUR, True, now)
    assert unaware.quality is not None
    assert aware.quality is not None
    assert unaware.quality.missing_share == 14 / 24
    assert (aware.quality.missing_share, aware.quality.grade) == (0, "A")


async def test_the_gap_report_spans_all_that_is_known(store: ParquetCandleStore) -> None:
    await store.upsert(BTC_HOURLY, candles_at(NOON, NOON + 3 * HOUR))
    await store.upsert(BTC_HOURLY, CandleTable.empty(), [Interval(NOON + HOUR, NOON + 2 * HOUR)])
    report = await report_gaps(store, BTC_HOURLY)
    assert (report.start, report.end) == (NOON, NOON + 4 * HOUR)
    assert [(g.start, g.kind) for g in report.gaps()] == [
        (NOON + HOUR, GapKind.NO_TRADES),
        (NOON + 2 * HOUR, GapKind.NOT_FETCHED),
    ]


async def test_a_gap_at_the_edge_of_the_range_is_interior_to_the_series(
    store: ParquetCandleStore,
) -> None:
    await store.upsert(BTC_HOURLY, candles_at(NOON, NOON + 9 * HOUR))
    report = await report_gaps(store, BTC_HOURLY, NOON + 2 * HOUR, NOON + 4 * HOUR)
    assert [g.place for g in report.gaps()] == [GapPlace.INTERIOR]


async def test_nothing_is_told_of_a_series_that_is_not_stored(store: ParquetCandleStore) -> None:
    for question in (report_gaps, describe_series):
        with pytest.raises(NotFound, match="collect or backfill it first"):
            await question(store, BTC_HOURLY)


async def test_statistics_are_those_of_the_candles(store: ParquetCandleStore) -> None:
    walk = a_walk(100)
    kept = np.ones(100, dtype=bool)
    kept[40:50] = False
    await store.upsert(BTC_HOURLY, CandleTable(walk.arrow.filter(kept)))
    found = await describe_series(store, BTC_HOURLY)
    close = walk.column("close")
    returns = np.diff(np.log(close))
    inside = np.concatenate([returns[:39], returns[50:]])
    assert (found.candles, found.first, found.last) == (90, NOON, NOON + 99 * HOUR)
    assert found.price_change == pytest.approx(close[-1] / 100.0 - 1)
    assert found.highest == walk.column("high")[kept].max()
    assert found.lowest == walk.column("low")[kept].min()
    assert found.volume == pytest.approx(walk.column("volume")[kept].sum())
    assert found.volatility == pytest.approx(inside.std(ddof=1))
    assert found.volatility_yearly == pytest.approx(inside.std(ddof=1) * np.sqrt(365.25 * 24))
    assert (found.missing_share, found.not_fetched_share) == (0.1, 0.1)


async def test_statistics_of_a_range_without_candles_are_empty(store: ParquetCandleStore) -> None:
    await store.upsert(BTC_HOURLY, candles_at(NOON, NOON + 9 * HOUR))
    found = await describe_series(store, BTC_HOURLY, NOON + 2 * HOUR, NOON + 4 * HOUR)
    assert (found.candles, found.first, found.volatility, found.missing_share) == (0, None, None, 1)
