"""The real ccxt client against a local server that answers as the venues do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from finsight.adapters.market.ccxt_exchange import CcxtExchange
from finsight.domain.candle import Series
from finsight.domain.errors import (
    InvalidInput,
    NotFound,
    SourceBusy,
    SourceRefused,
    SourceUnavailable,
)
from finsight.domain.interval import Interval
from finsight.domain.timeframe import Timeframe, to_ms
from finsight.recordings.faults import Fault
from finsight.recordings.server import RECORDINGS, RecordedWorld, start_recorded_world
from finsight.settings import ExchangeSettings
from tests.fixed_clock import FixedClock

NOW = datetime(2025, 12, 13, 12, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
BINANCE = Series(exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.H1)
COINBASE = Series(exchange="coinbase", symbol="BTC/USD", timeframe=Timeframe.H1)
KRAKEN = Series(exchange="kraken", symbol="BTC/USDT", timeframe=Timeframe.H1)

Open = Callable[..., CcxtExchange]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def world(clock: FixedClock) -> Iterator[RecordedWorld]:
    with start_recorded_world(RECORDINGS, clock) as running:
        yield running


@pytest.fixture
async def open_venue(world: RecordedWorld, clock: FixedClock) -> AsyncIterator[Open]:
    opened: list[CcxtExchange] = []

    def open_one(name: str, **settings: float) -> CcxtExchange:
        block = ExchangeSettings(base_url=world.venue_urls[name], rate_limit=False, **settings)
        opened.append(CcxtExchange.open(name, block, clock))
        return opened[-1]

    yield open_one
    for exchange in opened:
        await exchange.close()


def recorded(venue: str, pair: str, start: datetime, end: datetime) -> dict[str, np.ndarray]:
    table = pq.read_table(RECORDINGS / "candles" / venue / pair / "1h.parquet")
    ts = table.column("ts").to_numpy()
    inside = (ts >= to_ms(start)) & (ts < to_ms(end))
    return {name: table.column(name).to_numpy()[inside] for name in table.column_names}


def ago(hours: int) -> datetime:
    return NOW.replace(minute=0) - hours * HOUR


async def test_binance_pages_bring_every_recorded_candle_as_it_was(open_venue, world):
    exchange, start, end = open_venue("binance"), ago(2400), ago(0)
    pages, cursor = [], start
    while cursor < end:
        pages.append(await exchange.fetch_page(BINANCE, cursor, end))
        cursor = pages[-1].covered.end
    assert [len(page.candles) for page in pages] == [1000, 1000, 400]
    truth = recorded("binance", "BTC-USDT", start, end)
    assert np.concatenate([p.candles.ts_ms for p in pages]).tolist() == truth["ts"].tolist()
    for name in ("open", "high", "low", "close", "volume"):
        got = np.concatenate([page.candles.column(name) for page in pages])
        assert (got == truth[name]).all(), name
    # Spot pages weigh the same whatever their size, so each asks for all it may.
    asked = [request for request in world.faults.requests if "klines" in request]
    assert ["limit=1000" in request for request in asked] == [True, True, False]


async def test_one_request_loads_binance_s_markets_and_nothing_else_is_asked(open_venue, world):
    await open_venue("binance").fetch_page(BINANCE, ago(2), ago(0))
    assert [r.split("?")[0] for r in world.faults.requests] == [
        "/binance/api/v3/exchangeInfo",
        "/binance/api/v3/klines",
    ]


@pytest.mark.parametrize("venue", ["coinbase", "coinbaseexchange"])
async def test_coinbase_answers_by_windows_of_300_and_its_quiet_hours_are_covered(
    open_venue, venue
):
    series = COINBASE.model_copy(update={"exchange": venue})
    exchange, start, end = open_venue(venue), datetime(2025, 9, 1, tzinfo=UTC), ago(0)
    pages, cursor = [], start
    while cursor < end:
        pages.append(await exchange.fetch_page(series, cursor, end))
        assert pages[-1].covered == Interval(cursor, min(cursor + 300 * HOUR, end))
        cursor = pages[-1].covered.end
    truth = recorded("coinbase", "BTC-USD", start, end)
    assert np.concatenate([p.candles.ts_ms for p in pages]).tolist() == truth["ts"].tolist()
    assert len(truth["ts"]) < (end - start) / HOUR  # or the quiet hours prove nothing


async def test_kraken_covers_its_newest_720_and_says_so(shared_data):
    clock = FixedClock(datetime(2024, 3, 1, 12, 20, tzinfo=UTC))
    reach = datetime(2024, 1, 31, 13, tzinfo=UTC)
    end = clock.now().replace(minute=0)
    with start_recorded_world(shared_data, clock) as world:
        settings = ExchangeSettings(base_url=world.venue_urls["kraken"], rate_limit=False)
        exchange = CcxtExchange.open("kraken", settings, clock)
        page = await exchange.fetch_page(KRAKEN, datetime(2023, 6, 1, tzinfo=UTC), end)
        assert len(page.candles) == 719  # the 720th is still open
        assert page.covered == Interval(reach, end)
        assert page.note is not None
        assert "newest 720" in page.note
        too_old = await exchange.fetch_page(KRAKEN, reach - 900 * HOUR, reach - 800 * HOUR)
        assert (len(too_old.candles), too_old.note is None) == (0, False)
        # Covers nothing, and yet the next page is not the same one again.
        assert too_old.covered.start == too_old.covered.end == reach - 800 * HOUR
        recent = await exchange.fetch_page(KRAKEN, end - 5 * HOUR, end)
        assert (len(recent.candles), recent.note) == (5, None)
        assert recent.covered == Interval(end - 5 * HOUR, end)
        await exchange.close()


async def test_a_sparse_kraken_minute_without_trades_is_covered(shared_data):
    clock = FixedClock(datetime(2023, 11, 20, 12, 0, 45, tzinfo=UTC))
    minutes = KRAKEN.model_copy(update={"timeframe": Timeframe.M1})
    end = clock.now().replace(second=0)
    with start_recorded_world(shared_data, clock) as world:
        settings = ExchangeSettings(base_url=world.venue_urls["kraken"], rate_limit=False)
        exchange = CcxtExchange.open("kraken", settings, clock)
        page = await exchange.fetch_page(minutes, end - timedelta(minutes=300), end)
        assert 0 < len(page.candles) < 300
        assert page.covered == Interval(end - timedelta(minutes=300), end)
        await exchange.close()


@pytest.mark.parametrize("series", [BINANCE, COINBASE], ids=lambda s: s.exchange)
async def test_the_unfinished_candle_is_never_returned(open_venue, world, clock, series):
    exchange = open_venue(series.exchange)
    page = await exchange.fetch_page(series, ago(3), NOW + 5 * HOUR)
    assert page.candles.last_opened_at == ago(1)
    assert page.covered == Interval(ago(3), ago(0))
    nothing = await exchange.fetch_page(series, ago(0), NOW + 5 * HOUR)
    assert (len(nothing.candles), nothing.covered) == (0, Interval(ago(0), ago(0)))
    clock.moment = NOW + HOUR
    closed = await exchange.fetch_page(series, ago(0), NOW + 5 * HOUR)
    assert closed.candles.ts_ms.tolist() == [to_ms(ago(0))]


async def test_the_server_shows_the_unfinished_candle_and_nothing_after_it(world):
    def fetch() -> list[list[object]]:
        import urllib.request

        url = f"{world.venue_urls['binance']}/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=2"
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)

    closed, still_open = await asyncio.to_thread(fetch)
    assert [closed[0], still_open[0]] == [to_ms(ago(1)), to_ms(ago(0))]
    assert len({still_open[i] for i in (1, 2, 3, 4)}) == 1  # only its opening price is known yet


async def test_a_venue_seconds_late_with_the_newest_candle_is_asked_again(open_venue, world, clock):
    exchange = open_venue("binance")
    clock.moment = ago(0) + timedelta(seconds=3)
    two = await exchange.fetch_page(BINANCE, ago(2), ago(0))
    assert len(two.candles) == 2
    late = json.dumps([_kline(ago(2))]).encode()
    world.faults.add(Fault(path="klines", body=late))
    page = await exchange.fetch_page(BINANCE, ago(2), ago(0))
    assert page.covered == Interval(ago(2), ago(1))
    clock.moment = ago(0) + timedelta(seconds=45)
    world.faults.add(Fault(path="klines", body=late))
    page = await exchange.fetch_page(BINANCE, ago(2), ago(0))
    assert page.covered == Interval(ago(2), ago(0))


async def test_microseconds_are_told_from_milliseconds(open_venue, world):
    world.faults.add(Fault(path="klines", microseconds=True))
    page = await open_venue("binance").fetch_page(BINANCE, ago(5), ago(0))
    assert page.candles.ts_ms.tolist() == [to_ms(ago(h)) for h in (5, 4, 3, 2, 1)]


@pytest.mark.parametrize("status", [429, 418])
async def test_a_busy_venue_says_how_long_to_wait(open_venue, world, status):
    exchange = open_venue("binance")
    await exchange.symbols()
    body = b'{"code":-1003,"msg":"Too much request weight used."}'
    world.faults.add(Fault("klines", status=status, body=body, headers={"Retry-After": "17"}))
    with pytest.raises(SourceBusy) as caught:
        await exchange.fetch_page(BINANCE, ago(5), ago(0))
    assert caught.value.retry_after_s == 17
    assert len((await exchange.fetch_page(BINANCE, ago(5), ago(0))).candles) == 5


async def test_retry_after_may_be_a_date_and_the_body_a_page(open_venue, world):
    exchange = open_venue("coinbase")
    await exchange.symbols()
    sent, back = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, 0, 2, tzinfo=UTC)
    headers = {
        "Date": format_datetime(sent, usegmt=True),
        "Retry-After": format_datetime(back, usegmt=True),
        "Content-Type": "text/html",
    }
    world.faults.add(Fault("candles", status=429, body=b"<html>slow down</html>", headers=headers))
    with pytest.raises(SourceBusy) as caught:
        await exchange.fetch_page(COINBASE, ago(5), ago(0))
    assert caught.value.retry_after_s == 120


async def test_kraken_s_own_words_for_busy_come_with_status_200(shared_data):
    clock = FixedClock(datetime(2024, 3, 1, 12, 20, tzinfo=UTC))
    with start_recorded_world(shared_data, clock) as world:
        settings = ExchangeSettings(base_url=world.venue_urls["kraken"], rate_limit=False)
        exchange = CcxtExchange.open("kraken", settings, clock)
        await exchange.symbols()
        world.faults.add(Fault("OHLC", body=b'{"error":["EGeneral:Too many requests"]}'))
        with pytest.raises(SourceBusy) as caught:
            await exchange.fetch_page(KRAKEN, clock.now() - 5 * HOUR, clock.now())
        assert caught.value.retry_after_s is None
        await exchange.close()


FAULTS = {
    "an error page of a proxy": Fault("klines", status=502, body=b"<html>Bad gateway</html>"),
    "a server error": Fault("klines", status=500, body=b'{"code":-1000,"msg":"An unknown error"}'),
    "unavailable": Fault("klines", status=503, body=b""),
    "a page instead of JSON": Fault(
        "klines", body=b"<html>maintenance</html>", headers={"Content-Type": "text/html"}
    ),
    "an empty answer": Fault("klines", body=b""),
    "half of the JSON": Fault("klines", body=b'[[1765627200000,"1"'),
    "a connection cut in the middle": Fault("klines", cut=True),
    "an answer too late": Fault("klines", delay_s=1.5),
    "an object instead of rows": Fault("klines", body=b"{}"),
    "JSON of another form": Fault("klines", body=b'[["x"]]'),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_what_may_pass_is_unavailable_and_never_an_empty_page(open_venue, world, fault):
    exchange = open_venue("binance", timeout_s=0.7)
    await exchange.symbols()
    world.faults.add(Fault(**vars(fault)))
    with pytest.raises(SourceUnavailable) as caught:
        await exchange.fetch_page(BINANCE, ago(5), ago(0))
    assert not isinstance(caught.value, SourceBusy)
    assert len((await exchange.fetch_page(BINANCE, ago(5), ago(0))).candles) == 5


async def test_nobody_listening_is_unavailable(world, clock):
    url = world.venue_urls["binance"]
    world.stop()
    exchange = CcxtExchange.open("binance", ExchangeSettings(base_url=url, rate_limit=False), clock)
    with pytest.raises(SourceUnavailable):
        await exchange.fetch_page(BINANCE, ago(5), ago(0))
    await exchange.close()


async def test_an_answer_of_coinbase_without_candles_is_not_an_empty_page(open_venue, world):
    exchange = open_venue("coinbase")
    await exchange.symbols()
    world.faults.add(Fault("candles", body=b'{"message":"try later"}'))
    with pytest.raises(SourceUnavailable):
        await exchange.fetch_page(COINBASE, ago(5), ago(0))


@pytest.mark.parametrize("status", [403, 451])
async def test_a_venue_that_shuts_us_out_refuses(open_venue, world, status):
    exchange = open_venue("binance")
    await exchange.symbols()
    world.faults.add(Fault("klines", status=status, body=b"<html>not from your country</html>"))
    with pytest.raises(SourceRefused):
        await exchange.fetch_page(BINANCE, ago(5), ago(0))


async def test_a_wrong_symbol_is_not_found_and_the_nearest_is_named(open_venue):
    series = BINANCE.model_copy(update={"symbol": "BTC/USDTT"})
    with pytest.raises(NotFound, match="did you mean BTC/USDT"):
        await open_venue("binance").fetch_page(series, ago(5), ago(0))


async def test_a_timeframe_not_offered_is_the_caller_s_mistake(open_venue):
    series = COINBASE.model_copy(update={"timeframe": Timeframe.M3})
    with pytest.raises(InvalidInput, match="offers no 3m candles"):
        await open_venue("coinbase").fetch_page(series, ago(5), ago(0))


def test_an_unknown_venue_is_not_found_and_the_nearest_is_named(clock):
    with pytest.raises(NotFound, match="did you mean binance"):
        CcxtExchange.open("binanse", ExchangeSettings(), clock)


async def test_rows_in_disorder_and_twice_are_sorted_and_the_later_counts(open_venue, world):
    rows = [_kline(ago(1)), _kline(ago(3)), _kline(ago(2)), _kline(ago(3), close=107.0)]
    world.faults.add(Fault("klines", body=json.dumps(rows).encode()))
    page = await open_venue("binance").fetch_page(BINANCE, ago(3), ago(0))
    assert page.candles.ts_ms.tolist() == [to_ms(ago(h)) for h in (3, 2, 1)]
    assert page.candles.column("close").tolist() == [107.0, 101.0, 101.0]


async def test_an_impossible_row_is_left_out_named_and_not_covered(open_venue, world):
    rows = [_kline(ago(3)), _kline(ago(2), high=1.0), _kline(ago(1))]
    exchange = open_venue("binance")
    world.faults.add(Fault("klines", times=2, body=json.dumps(rows).encode()))
    page = await exchange.fetch_page(BINANCE, ago(3), ago(0))
    assert page.covered == Interval(ago(3), ago(2))
    assert page.note == "impossible prices were left out: 2025-12-13 10:00 UTC"
    rest = await exchange.fetch_page(BINANCE, ago(2), ago(0))
    assert rest.covered == Interval(ago(1), ago(0))
    assert rest.candles.ts_ms.tolist() == [to_ms(ago(1))]


def _cases(shared_data: Path, name: str) -> list[dict]:
    return json.loads((shared_data / "ccxt" / name).read_text())["methods"]["fetchOHLCV"]


RECORDED = {
    "binance": ("binance.subset.json", "binance", "klines"),
    "kraken": ("kraken.subset.json", "kraken", "OHLC"),
    "coinbaseexchange": ("coinbaseexchange.json", "coinbaseexchange", "candles"),
}


@pytest.mark.parametrize("venue", RECORDED)
async def test_recorded_answers_are_read_as_ccxt_s_own_tests_say(shared_data, tmp_path, venue):
    name, exchange_id, path = RECORDED[venue]
    case = _cases(shared_data, name)[0]
    truth = case["parsedResponse"]
    symbol, timeframe = case["input"][:2]
    start = datetime.fromtimestamp(truth[0][0] / 1000, UTC)
    end = datetime.fromtimestamp(truth[-1][0] / 1000, UTC) + HOUR
    clock = FixedClock(end + timedelta(minutes=40))
    pair = tmp_path / "candles" / venue.removesuffix("exchange") / symbol.replace("/", "-")
    pair.mkdir(parents=True)
    (pair / "1h.parquet").touch()  # lists the symbol; the answer itself is the recorded one
    with start_recorded_world(tmp_path, clock) as world:
        settings = ExchangeSettings(base_url=world.venue_urls[exchange_id], rate_limit=False)
        exchange = CcxtExchange.open(exchange_id, settings, clock)
        world.faults.add(Fault(path, body=json.dumps(case["httpResponse"]).encode()))
        series = Series(exchange=exchange_id, symbol=symbol, timeframe=timeframe)
        page = await exchange.fetch_page(series, start, end)
        await exchange.close()
    got = [page.candles.ts_ms, *(page.candles.column(n) for n in ("open", "high", "low", "close"))]
    assert [list(row) for row in zip(*(c.tolist() for c in got), strict=True)] == [
        row[:5] for row in truth
    ]
    assert page.candles.column("volume").tolist() == [row[5] for row in truth]


def _shape(value: object) -> object:
    """Types and keys, whatever the values; a list is told by its first element."""
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        if value and not isinstance(value[0], (list, dict)):
            return [_shape(inner) for inner in value]
        return [_shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) else type(value).__name__


@pytest.mark.parametrize(
    ("file", "when", "address"),
    [
        ("binance.subset.json", "2024-02-01", "binance/api/v3/klines?symbol=BTCUSDT&interval=1h"),
        ("kraken.subset.json", "2024-02-01", "kraken/0/public/OHLC?pair=XBTUSDT&interval=60"),
        (
            "coinbaseexchange.json",
            "2025-02-01",
            "coinbaseexchange/products/BTC-USD/candles?granularity=3600",
        ),
    ],
)
async def test_the_server_s_answers_have_the_recorded_shape(shared_data, file, when, address):
    import urllib.request

    truth = _cases(shared_data, file)[0]["httpResponse"]
    clock = FixedClock(datetime.fromisoformat(f"{when}T14:30+00:00"))
    with start_recorded_world(shared_data, clock) as world:

        def fetch() -> object:
            with urllib.request.urlopen(f"{world.base_url}/{address}") as answer:
                return json.load(answer)

        answered = await asyncio.to_thread(fetch)
    assert _shape(answered) == _shape(truth)


def _kline(opened_at: datetime, close: float = 101.0, high: float = 110.0) -> list[object]:
    ts = to_ms(opened_at)
    prices = [100.0, high, 90.0, close, 5.0]
    return [ts, *(f"{p:.8f}" for p in prices), ts + 3_599_999, "0", 1, "0", "0", "0"]
