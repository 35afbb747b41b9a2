"""What every `ports.market.Exchange` does: each venue's real client against a local server."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finsight.adapters.market.ccxt_exchange import CcxtExchange
from finsight.domain.candle import Series
from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.timeframe import Timeframe, to_ms
from finsight.ports.market import CandlePage, Exchange
from finsight.recordings.server import start_recorded_world
from finsight.settings import ExchangeSettings
from tests.builders import a_walk
from tests.fixed_clock import FixedClock

NOW = datetime(2025, 6, 1, 12, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIRST = datetime(2025, 3, 1, tzinfo=UTC)
OPEN_NOW = NOW.replace(minute=0)
QUIET = {to_ms(OPEN_NOW - hours * HOUR) for hours in (7, 8, 300)}
VENUES = ["binance", "coinbase", "coinbaseexchange", "kraken"]


def write_recording(folder: Path, venue: str, symbol: str) -> None:
    """Candles from FIRST until well after NOW, without those of QUIET."""
    table = a_walk(int((NOW - FIRST) / HOUR) + 100, FIRST).arrow
    ts = table.column("ts").cast(pa.int64())
    keep = pa.array([opened not in QUIET for opened in ts.to_pylist()])
    path = folder / "candles" / venue / symbol.replace("/", "-") / "1h.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table.set_column(0, "ts", ts).filter(keep), path)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture(params=VENUES)
def series(request: pytest.FixtureRequest) -> Series:
    return Series(exchange=request.param, symbol="BTC/USDT", timeframe=Timeframe.H1)


@pytest.fixture
async def exchange(series: Series, clock: FixedClock, tmp_path: Path) -> AsyncIterator[Exchange]:
    write_recording(tmp_path, series.exchange.removesuffix("exchange"), series.symbol)
    with start_recorded_world(tmp_path, clock) as world:
        settings = ExchangeSettings(base_url=world.venue_urls[series.exchange], rate_limit=False)
        opened = CcxtExchange.open(series.exchange, settings, clock)
        yield opened
        await opened.close()


async def pages_of(
    exchange: Exchange, series: Series, start: datetime, end: datetime
) -> list[CandlePage]:
    """Ask from each page's end for the next, as the port says."""
    pages: list[CandlePage] = []
    cursor = start
    while cursor < end:
        page = await exchange.fetch_page(series, cursor, end)
        assert page.covered.end > cursor, "a page must move forward"
        assert cursor <= page.covered.start <= page.covered.end <= end
        pages.append(page)
        cursor = page.covered.end
    return pages


async def test_pages_bring_each_candle_once_oldest_first(exchange, series):
    start = OPEN_NOW - 700 * HOUR
    pages = await pages_of(exchange, series, start, OPEN_NOW)
    times = [ts for page in pages for ts in page.candles.ts_ms.tolist()]
    wanted = [to_ms(start + n * HOUR) for n in range(700)]
    assert times == [ts for ts in wanted if ts not in QUIET]


async def test_an_hour_in_which_nobody_traded_is_covered(exchange, series):
    start = OPEN_NOW - 10 * HOUR
    (page,) = await pages_of(exchange, series, start, OPEN_NOW)
    assert page.covered == (start, OPEN_NOW)
    assert len(page.candles) == 8


async def test_a_span_in_which_nobody_traded_at_all_is_covered(exchange, series):
    start = OPEN_NOW - 8 * HOUR
    page = await exchange.fetch_page(series, start, start + 2 * HOUR)
    assert (len(page.candles), page.covered) == (0, (start, start + 2 * HOUR))


async def test_candles_are_those_whose_opening_lies_inside(exchange, series):
    half_past = OPEN_NOW - 3.5 * HOUR
    page = await exchange.fetch_page(series, half_past, half_past + 2 * HOUR)
    assert page.candles.ts_ms.tolist() == [to_ms(OPEN_NOW - h * HOUR) for h in (3, 2)]
    assert page.covered == (half_past, half_past + 2 * HOUR)


async def test_the_candle_open_now_is_returned_only_once_it_has_closed(exchange, series, clock):
    page = await exchange.fetch_page(series, OPEN_NOW - HOUR, OPEN_NOW + 9 * HOUR)
    assert page.candles.ts_ms.tolist() == [to_ms(OPEN_NOW - HOUR)]
    assert page.covered.end == OPEN_NOW
    early = await exchange.fetch_page(series, OPEN_NOW, OPEN_NOW + 9 * HOUR)
    assert (len(early.candles), early.covered) == (0, (OPEN_NOW, OPEN_NOW))
    clock.moment = NOW + HOUR
    later = await exchange.fetch_page(series, OPEN_NOW, OPEN_NOW + 9 * HOUR)
    assert later.candles.ts_ms.tolist() == [to_ms(OPEN_NOW)]


async def test_what_a_venue_can_t_reach_is_not_covered_and_said(exchange, series):
    pages = await pages_of(exchange, series, FIRST, OPEN_NOW)
    covered = sum((p.covered.end - p.covered.start for p in pages), timedelta(0))
    got = sum(len(page.candles) for page in pages)
    quiet_inside = 3
    assert covered == (got + quiet_inside) * HOUR
    everything = covered == OPEN_NOW - FIRST
    assert everything or any(page.note for page in pages)


async def test_lists_symbols_and_timeframes(exchange):
    assert await exchange.symbols() == ["BTC/USDT"]
    assert Timeframe.H1 in exchange.timeframes()


async def test_an_unknown_symbol_is_not_found(exchange, series):
    unknown = series.model_copy(update={"symbol": "NOPE/USDT"})
    with pytest.raises(NotFound):
        await exchange.fetch_page(unknown, OPEN_NOW - HOUR, OPEN_NOW)


async def test_a_timeframe_not_offered_is_invalid(exchange, series):
    odd = series.model_copy(update={"timeframe": Timeframe.M10})
    with pytest.raises(InvalidInput):
        await exchange.fetch_page(odd, OPEN_NOW - HOUR, OPEN_NOW)
