"""Collecting ranges: paging, flushing, retrying, holes."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from finsight.adapters.filesystems import open_folder
from finsight.adapters.market.parquet_candles import ParquetCandleStore
from finsight.domain.candle_table import CandleTable
from finsight.domain.collector import CollectedSeries
from finsight.domain.errors import NotFound, SourceBusy, SourceUnavailable
from finsight.domain.health import PartState
from finsight.domain.interval import Interval, subtract, union
from finsight.domain.timeframe import Timeframe, to_ms
from finsight.ports.market import CandlePage
from finsight.services.candle_collection import CandleCollection, CollectionProgress
from finsight.services.retrying import Retrying
from finsight.services.series_following import SeriesFollower
from tests.builders import BTC_HOURLY, HOUR, a_walk
from tests.fixed_clock import FixedClock

START = datetime(2024, 1, 1, tzinfo=UTC)
MANY = a_walk(400, START)


class ScriptedExchange:
    """Gives `MANY` in pages of `rows`; raises what `failures` holds first.

    For failures and page borders that no recording has; venues are tested elsewhere.
    """

    name = "binance"

    def __init__(self, rows: int = 50, clock: FixedClock | None = None) -> None:
        self.rows = rows
        self.clock = clock or FixedClock(START + 399 * HOUR)
        self.failures: list[Exception] = []
        self.asked: list[Interval] = []

    async def fetch_page(self, series, start, end):
        self.asked.append(Interval(start, end))
        if self.failures:
            raise self.failures.pop(0)
        stop = min(end, start + self.rows * HOUR, Timeframe.H1.floor(self.clock.now()))
        if stop <= start:
            return CandlePage(CandleTable.empty(), Interval(start, start))
        return CandlePage(MANY.between(start, stop), Interval(start, stop))

    async def symbols(self):
        return ["BTC/USDT"]

    def timeframes(self):
        return [Timeframe.H1]

    async def close(self):
        pass


class Slept:
    """Sleeps no time and remembers how long it should have."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def store(tmp_path) -> ParquetCandleStore:
    return ParquetCandleStore(open_folder(str(tmp_path)))


def collecting(exchange, store, **given) -> CandleCollection:
    retrying = Retrying(sleep=given.pop("sleep", Slept()), max_attempts=given.pop("attempts", None))
    return CandleCollection(exchange, store, None, exchange.clock, retrying, **given)


async def test_a_backfill_stores_every_closed_candle_once_and_reports_progress(store):
    seen: list[CollectionProgress] = []
    collection = collecting(ScriptedExchange(), store, flush_rows=100)
    collected = await collection.backfill(BTC_HOURLY, START, START + 999 * HOUR, seen.append)
    assert (await store.read(BTC_HOURLY, START, START + 999 * HOUR)).ts_ms.tolist() == (
        MANY.ts_ms[:399].tolist()
    )
    assert collected.candles == 399
    assert await store.coverage(BTC_HOURLY) == [Interval(START, START + 399 * HOUR)]
    assert [progress.candles for progress in seen] == [100, 200, 300, 399]
    assert [round(progress.done, 2) for progress in seen] == [0.25, 0.5, 0.75, 1.0]


async def test_what_was_answered_for_is_not_asked_again(store):
    exchange = ScriptedExchange()
    collection = collecting(exchange, store)
    await collection.backfill(BTC_HOURLY, START, START + 100 * HOUR)
    exchange.asked.clear()
    await collection.backfill(BTC_HOURLY, START, START + 100 * HOUR)
    assert exchange.asked == []


spans = st.lists(
    st.tuples(st.integers(0, 120), st.integers(1, 30)).map(
        lambda s: Interval(START + s[0] * HOUR, START + (s[0] + s[1]) * HOUR)
    ),
    min_size=1,
    max_size=5,
)


@given(had=spans, page=st.integers(1, 60))
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_filling_gaps_asks_for_the_interior_holes_and_nothing_else(
    tmp_path_factory, had, page
):
    store = ParquetCandleStore(open_folder(str(tmp_path_factory.mktemp("candles"))))
    for span in had:
        await store.upsert(BTC_HOURLY, MANY.between(*span), [span])
    exchange = ScriptedExchange(rows=page)
    await collecting(exchange, store).fill_gaps(BTC_HOURLY)
    whole = Interval(union(had)[0].start, union(had)[-1].end)
    covered_by_requests = union(
        Interval(a.start, min(a.end, a.start + page * HOUR)) for a in exchange.asked
    )
    assert covered_by_requests == subtract([whole], had)
    assert await store.coverage(BTC_HOURLY) == [whole]
    assert (await store.read(BTC_HOURLY, START, START + 999 * HOUR)) == MANY.between(*whole)


async def test_a_busy_venue_is_left_alone_for_as_long_as_it_says(store):
    exchange, slept = ScriptedExchange(), Slept()
    exchange.failures = [SourceBusy("slow down", 17.0)]
    troubles: list[Exception] = []
    collection = collecting(exchange, store, sleep=slept)
    await collection.backfill(BTC_HOURLY, START, START + 10 * HOUR, None, troubles.append)
    assert slept.pauses == [17.0]
    assert [type(t) for t in troubles] == [SourceBusy]
    assert (await store.summary(BTC_HOURLY)).candles == 10


async def test_a_pause_that_the_venue_asked_for_holds_for_every_series(store):
    exchange, retrying = ScriptedExchange(), Retrying()
    exchange.failures = [SourceBusy("slow down", 0.3)]
    loop, answered = asyncio.get_running_loop(), []
    began = loop.time()

    async def fetch() -> None:
        await exchange.fetch_page(BTC_HOURLY, START, START + HOUR)
        answered.append(loop.time() - began)

    first = asyncio.create_task(retrying.call(fetch))
    await asyncio.sleep(0.05)
    await asyncio.gather(first, retrying.call(fetch))
    assert min(answered) >= 0.28


async def test_pauses_double_with_jitter_up_to_a_cap(store):
    exchange, slept = ScriptedExchange(), Slept()
    exchange.failures = [SourceUnavailable("down")] * 12
    await collecting(exchange, store, sleep=slept).backfill(BTC_HOURLY, START, START + HOUR)
    for number, pause in enumerate(slept.pauses):
        full = min(60.0, 0.5 * 2**number)
        assert full / 2 <= pause <= full
    assert len(set(slept.pauses[-4:])) == 4  # the cap is reached, the jitter stays


async def test_a_refusal_is_not_retried_and_keeps_what_came_before(store):
    exchange = ScriptedExchange(rows=50)
    collection = collecting(exchange, store)
    await collection.backfill(BTC_HOURLY, START, START + 50 * HOUR)
    exchange.failures = [NotFound("delisted")]
    asked_before = len(exchange.asked)
    with pytest.raises(NotFound):
        await collection.backfill(BTC_HOURLY, START, START + 200 * HOUR)
    assert len(exchange.asked) == asked_before + 1
    assert (await store.summary(BTC_HOURLY)).candles == 50


async def test_giving_up_raises_the_last_error_and_stores_the_pages_before_it(store):
    exchange = ScriptedExchange(rows=50)

    async def fail_late(series, start, end, fetch=exchange.fetch_page):
        if start >= START + 150 * HOUR:
            raise SourceUnavailable("down")
        return await fetch(series, start, end)

    exchange.fetch_page = fail_late  # type: ignore[method-assign]
    with pytest.raises(SourceUnavailable):
        await collecting(exchange, store, attempts=3).backfill(
            BTC_HOURLY, START, START + 300 * HOUR
        )
    assert (await store.summary(BTC_HOURLY)).candles == 150


class Ended(Exception):
    """Raised by a test's sleep to end a follower that would go on for ever."""


async def test_a_follower_asks_shortly_after_each_close_and_again_when_the_venue_is_late(store):
    clock = FixedClock(START + 100 * HOUR + timedelta(minutes=59, seconds=50))
    exchange = ScriptedExchange(clock=clock)
    exchange_is_late = [True, True]
    asked_at: list[datetime] = []

    async def late_twice(series, start, end, fetch=exchange.fetch_page):
        if clock.moment > START + 101 * HOUR:
            asked_at.append(clock.moment)
            if exchange_is_late:
                exchange_is_late.pop()
                return CandlePage(CandleTable.empty(), Interval(start, start))
        return await fetch(series, start, end)

    async def passes(seconds: float) -> None:
        clock.moment += timedelta(seconds=seconds)
        if clock.moment > START + 102 * HOUR:
            raise Ended

    exchange.fetch_page = late_twice  # type: ignore[method-assign]
    wanted = CollectedSeries(
        exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.H1, since=START
    )
    follower = SeriesFollower(wanted, collecting(exchange, store), clock, sleep=passes)
    assert follower.health().state is PartState.STARTING
    with pytest.raises(Ended):
        await follower.run()
    first, second, third = (moment - (START + 101 * HOUR) for moment in asked_at[:3])
    assert timedelta(0) < first < timedelta(seconds=3)
    assert first < second < third < timedelta(seconds=10)
    assert (await store.read(BTC_HOURLY, START, START + 999 * HOUR)).ts_ms[-1] == to_ms(
        START + 100 * HOUR
    )


async def test_health_is_the_age_of_the_newest_candle(store):
    clock = FixedClock(START + 100 * HOUR + timedelta(minutes=10))
    exchange = ScriptedExchange(clock=clock)

    async def ends(seconds: float) -> None:
        raise Ended

    wanted = CollectedSeries(
        exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.H1, since=START
    )
    follower = SeriesFollower(wanted, collecting(exchange, store), clock, sleep=ends)
    with pytest.raises(Ended):
        await follower.run()
    health = follower.health()
    assert (health.state, health.age_s) == (PartState.OK, 600)
    assert health.newest_at == START + 100 * HOUR
    clock.moment += 2 * HOUR
    assert follower.health().state is PartState.LATE
