"""What every CandleStore must do. A new adapter joins by one line in STORES."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from finsight.adapters.filesystems import open_folder
from finsight.adapters.market.parquet_candles import ParquetCandleStore
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable, merge
from finsight.domain.interval import Interval
from finsight.domain.timeframe import Timeframe
from finsight.ports.market import CandleStore, SeriesSummary
from tests.builders import BTC_HOURLY, BTC_MINUTES, ETH_HOURLY, HOUR, NOON, a_walk, candles_at
from tests.s3_server import CannotStart, S3Server, running_s3_server

LONG_AGO, FAR_AHEAD = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

STORES: dict[str, Callable[[str, Path], CandleStore]] = {
    "parquet in a folder": lambda bucket, folder: ParquetCandleStore(open_folder(str(folder))),
    "parquet in a bucket": lambda bucket, folder: ParquetCandleStore(open_folder(bucket)),
}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    try:
        with running_s3_server(tmp_path_factory.mktemp("s3")) as server:
            yield server
    except CannotStart as exc:
        pytest.skip(f"LOUD SKIP: no S3 server, so buckets were not tested: {exc}")


@pytest.fixture
def bucket(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """The address of an empty prefix of a real bucket."""
    import s3fs

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem(skip_instance_cache=True).makedirs("candles", exist_ok=True)
    return f"s3://candles/{abs(hash(request.node.nodeid))}"


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], CandleStore]:
    """Opens the same place anew, as another process would."""
    bucket = request.getfixturevalue("bucket") if "bucket" in request.param else ""
    return lambda: STORES[request.param](bucket, tmp_path)


@pytest.fixture
def store(open_store: Callable[[], CandleStore]) -> CandleStore:
    return open_store()


async def read_all(store: CandleStore, series: Series) -> CandleTable:
    return await store.read(series, LONG_AGO, FAR_AHEAD)


async def test_reads_back_what_was_stored_oldest_first(store: CandleStore) -> None:
    walk = a_walk(48)
    await store.upsert(BTC_HOURLY, CandleTable(walk.arrow.slice(24)))
    await store.upsert(BTC_HOURLY, CandleTable(walk.arrow.slice(0, 24)))
    assert await read_all(store, BTC_HOURLY) == walk


async def test_what_was_stored_outlives_the_process(
    open_store: Callable[[], CandleStore],
) -> None:
    covered = [Interval(NOON, NOON + 48 * HOUR)]
    await open_store().upsert(BTC_HOURLY, a_walk(48), covered)
    assert await read_all(open_store(), BTC_HOURLY) == a_walk(48)
    assert await open_store().coverage(BTC_HOURLY) == covered


async def test_the_start_of_a_range_is_included_and_its_end_is_not(store: CandleStore) -> None:
    await store.upsert(BTC_HOURLY, candles_at(NOON, NOON + HOUR, NOON + 2 * HOUR))
    found = await store.read(BTC_HOURLY, NOON + HOUR, NOON + 2 * HOUR)
    assert found == candles_at(NOON + HOUR)


async def test_a_range_without_candles_reads_as_an_empty_table(store: CandleStore) -> None:
    assert await read_all(store, BTC_HOURLY) == CandleTable.empty()
    await store.upsert(BTC_HOURLY, candles_at(NOON, NOON + 2 * HOUR))
    empty = CandleTable.empty()
    assert await store.read(BTC_HOURLY, NOON + HOUR, NOON + 2 * HOUR) == empty
    assert await store.read(BTC_HOURLY, NOON + HOUR, NOON + HOUR) == empty
    assert await store.read(BTC_HOURLY, NOON + 2 * HOUR, NOON) == empty


async def test_storing_a_candle_again_replaces_it(store: CandleStore) -> None:
    await store.upsert(BTC_HOURLY, candles_at(NOON, NOON + HOUR, close=101.0))
    await store.upsert(BTC_HOURLY, candles_at(NOON, close=102.0))
    kept = await read_all(store, BTC_HOURLY)
    assert kept.column("close").tolist() == [102.0, 101.0]
    assert (await store.summary(BTC_HOURLY)).candles == 2


async def test_storing_the_same_twice_is_as_storing_it_once(store: CandleStore) -> None:
    covered = [Interval(NOON, NOON + 10 * HOUR)]
    for _ in range(2):
        await store.upsert(BTC_HOURLY, a_walk(10), covered)
    assert await read_all(store, BTC_HOURLY) == a_walk(10)
    assert await store.coverage(BTC_HOURLY) == covered


async def test_the_newest_write_wins_after_many_small_ones(store: CandleStore) -> None:
    expected = CandleTable.empty()
    for hour in range(36):
        pair = candles_at(NOON + hour * HOUR, NOON + (hour + 1) * HOUR, close=100.0 + hour)
        await store.upsert(BTC_HOURLY, pair)
        expected = merge(expected, pair)
    assert await read_all(store, BTC_HOURLY) == expected
    assert await store.summary(BTC_HOURLY) == SeriesSummary(BTC_HOURLY, 37, NOON, NOON + 36 * HOUR)


async def test_minutes_over_new_year_are_read_in_one_piece(store: CandleStore) -> None:
    new_year = datetime(2024, 1, 1, tzinfo=UTC)
    walk = a_walk(600, new_year - 300 * MINUTE, Timeframe.M1)
    await store.upsert(BTC_MINUTES, walk)
    assert await read_all(store, BTC_MINUTES) == walk
    around = await store.read(BTC_MINUTES, new_year - MINUTE, new_year + MINUTE)
    assert [c.opened_at for c in around] == [new_year - MINUTE, new_year]


async def test_coverage_is_joined_and_sorted(store: CandleStore) -> None:
    late, early = Interval(NOON + 5 * HOUR, NOON + 6 * HOUR), Interval(NOON, NOON + HOUR)
    await store.upsert(BTC_HOURLY, candles_at(NOON), [late])
    await store.upsert(BTC_HOURLY, CandleTable.empty(), [early])
    assert await store.coverage(BTC_HOURLY) == [early, late]
    await store.upsert(BTC_HOURLY, CandleTable.empty(), [Interval(early.end, late.start)])
    assert await store.coverage(BTC_HOURLY) == [Interval(early.start, late.end)]


async def test_a_candle_alone_covers_nothing(store: CandleStore) -> None:
    await store.upsert(BTC_HOURLY, candles_at(NOON))
    assert await store.coverage(BTC_HOURLY) == []


async def test_an_unknown_series_is_empty(store: CandleStore) -> None:
    assert await store.summary(ETH_HOURLY) == SeriesSummary(ETH_HOURLY, 0, None, None)
    assert await store.coverage(ETH_HOURLY) == []
    assert await store.list_series() == []


async def test_lists_series_that_hold_a_candle_or_a_coverage(store: CandleStore) -> None:
    perpetual = Series(exchange="kraken", symbol="BTC/USD:BTC", timeframe=Timeframe.MONTH)
    await store.upsert(ETH_HOURLY, CandleTable.empty(), [Interval(NOON, NOON + HOUR)])
    await store.upsert(perpetual, candles_at(datetime(2024, 1, 1, tzinfo=UTC)))
    await store.upsert(BTC_MINUTES, candles_at(NOON))
    await store.upsert(BTC_HOURLY, CandleTable.empty())
    assert await store.list_series() == [BTC_MINUTES, ETH_HOURLY, perpetual]


async def test_series_are_kept_apart(store: CandleStore) -> None:
    minutes_named_like_months = BTC_MINUTES.model_copy(update={"timeframe": Timeframe.MONTH})
    await store.upsert(BTC_MINUTES, candles_at(NOON))
    assert await read_all(store, BTC_HOURLY) == CandleTable.empty()
    assert await read_all(store, minutes_named_like_months) == CandleTable.empty()


async def test_writers_at_the_same_moment_lose_nothing(
    open_store: Callable[[], CandleStore],
) -> None:
    walk = a_walk(24)
    covered = [Interval(c.opened_at, c.opened_at + HOUR) for c in walk]
    await asyncio.gather(
        *(
            open_store().upsert(BTC_HOURLY, CandleTable(walk.arrow.slice(row, 1)), [covered[row]])
            for row in range(24)
        )
    )
    assert await read_all(open_store(), BTC_HOURLY) == walk
    assert await open_store().coverage(BTC_HOURLY) == [Interval(NOON, NOON + 24 * HOUR)]


async def test_readers_miss_nothing_while_a_writer_merges(
    open_store: Callable[[], CandleStore],
) -> None:
    stored = a_walk(20)
    await open_store().upsert(BTC_HOURLY, stored)
    writing = True

    async def read_on() -> int:
        reads, store = 0, open_store()
        while writing:
            found = await store.read(BTC_HOURLY, NOON, NOON + 20 * HOUR)
            assert found == stored
            reads += 1
        return reads

    readers = asyncio.gather(read_on(), read_on())
    writer = open_store()
    for row in range(36):
        await writer.upsert(BTC_HOURLY, candles_at(NOON + (20 + row) * HOUR))
        assert not readers.done()
    writing = False
    assert min(await readers) > 0
