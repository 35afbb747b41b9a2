"""The market routes, over a real folder of Parquet files."""

import io
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.csv
import pytest

from finsight.domain.candle_table import SCHEMA, CandleTable, merge
from finsight.domain.interval import Interval
from finsight.domain.timeframe import Timeframe
from tests.builders import BTC_HOURLY, HOUR, NOON, a_walk
from tests.unit.http_platform import NOW, a_collector, running

BTC = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h"}
ARROW = {"accept": "application/vnd.apache.arrow.stream"}
MIDNIGHT = NOON - 12 * HOUR


@pytest.fixture
async def platform(settings):
    async with running(settings) as platform:
        yield platform


@pytest.fixture
async def ten_candles(platform):
    candles = a_walk(10)
    await platform.ports.candles.upsert(BTC_HOURLY, candles, [Interval(NOON, NOON + 10 * HOUR)])
    return candles


async def test_candles_come_back_as_they_were_stored(platform, ten_candles):
    answer = await platform.client.get("/v1/market/candles", params=BTC)
    assert answer.status_code == 200
    body = answer.json()
    assert body["next"] is None
    assert body["source_timeframe"] == "1h"
    assert [row["close"] for row in body["candles"]] == ten_candles.column("close").tolist()
    assert body["candles"][0]["opened_at"] == "2024-01-01T12:00:00Z"
    assert "complete" not in body["candles"][0]


async def test_without_a_start_the_newest_candles_come(platform, ten_candles):
    answer = await platform.client.get("/v1/market/candles", params=BTC | {"limit": 3})
    closes = [row["close"] for row in answer.json()["candles"]]
    assert closes == ten_candles.column("close").tolist()[-3:]


async def test_the_next_links_lead_through_a_span_once_and_completely(platform, ten_candles):
    asked = BTC | {"limit": 3, "start": NOON.isoformat(), "end": (NOON + 8 * HOUR).isoformat()}
    answer = await platform.client.get("/v1/market/candles", params=asked)
    seen, pages = [], 0
    while True:
        seen += [row["close"] for row in answer.json()["candles"]]
        pages += 1
        link = answer.json()["next"]
        if link is None:
            break
        assert answer.headers["link"] == f'<{link}>; rel="next"'
        answer = await platform.client.get(link)
    assert pages == 3
    assert seen == ten_candles.column("close").tolist()[:8]


async def test_a_hole_longer_than_a_page_is_stepped_over(platform):
    later = a_walk(3, NOON + timedelta(days=90))
    await platform.ports.candles.upsert(BTC_HOURLY, merge(a_walk(3), later))
    asked = BTC | {"limit": 4, "start": NOON.isoformat()}
    first = (await platform.client.get("/v1/market/candles", params=asked)).json()
    assert len(first["candles"]) == 4
    second = (await platform.client.get(first["next"])).json()
    assert len(second["candles"]) == 2
    assert second["next"] is None


async def test_candles_as_csv(platform, ten_candles):
    answer = await platform.client.get(
        "/v1/market/candles", params=BTC, headers={"accept": "text/csv"}
    )
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.splitlines()[0] == "opened_at,open,high,low,close,volume"
    assert answer.text.splitlines()[1].startswith("2024-01-01T12:00:00Z,")
    read = pyarrow.csv.read_csv(io.BytesIO(answer.content))
    assert read.column("close").to_pylist() == ten_candles.column("close").tolist()


async def test_candles_as_an_arrow_stream(platform, ten_candles):
    answer = await platform.client.get("/v1/market/candles", params=BTC, headers=ARROW)
    read = pa.ipc.open_stream(answer.content).read_all()
    assert read.schema.equals(SCHEMA)
    assert CandleTable.from_arrow(read) == ten_candles


async def test_the_accept_header_is_weighed(platform, ten_candles):
    accept = "image/png, text/csv;q=0.5, application/json;q=0.9"
    answer = await platform.client.get("/v1/market/candles", params=BTC, headers={"accept": accept})
    assert answer.headers["content-type"] == "application/json"


async def test_a_format_that_is_not_offered_is_a_406(platform, ten_candles):
    answer = await platform.client.get(
        "/v1/market/candles", params=BTC, headers={"accept": "image/png"}
    )
    assert answer.status_code == 406
    assert "text/csv" in answer.json()["detail"]


async def test_a_longer_timeframe_is_put_together_and_says_what_is_incomplete(platform):
    candles = a_walk(10, MIDNIGHT)
    await platform.ports.candles.upsert(
        BTC_HOURLY, candles, [Interval(MIDNIGHT, MIDNIGHT + 10 * HOUR)]
    )
    answer = await platform.client.get("/v1/market/candles", params=BTC | {"timeframe": "4h"})
    body = answer.json()
    assert body["source_timeframe"] == "1h"
    assert [row["complete"] for row in body["candles"]] == [True, True, False]
    assert body["candles"][0]["close"] == candles.column("close")[3]


async def test_put_together_candles_are_paged_too(platform):
    await platform.ports.candles.upsert(BTC_HOURLY, a_walk(40, MIDNIGHT))
    asked = BTC | {"timeframe": "4h", "limit": 4, "start": MIDNIGHT.isoformat()}
    first = (await platform.client.get("/v1/market/candles", params=asked)).json()
    assert parse_qs(urlsplit(first["next"]).query)["start"] == ["2024-01-01T16:00:00Z"]
    second = (await platform.client.get(first["next"])).json()
    assert second["candles"][0]["opened_at"] == "2024-01-01T16:00:00Z"


async def test_a_page_can_be_graded(platform, ten_candles):
    answer = await platform.client.get("/v1/market/candles", params=BTC | {"quality": "true"})
    assert answer.json()["quality"]["missing_share"] == 0
    assert answer.json()["quality"]["candles"] == 10


async def test_a_hole_in_the_page_lowers_its_grade(platform):
    await platform.ports.candles.upsert(BTC_HOURLY, merge(a_walk(5), a_walk(5, NOON + 8 * HOUR)))
    answer = await platform.client.get("/v1/market/candles", params=BTC | {"quality": "true"})
    assert answer.json()["quality"]["missing_share"] == pytest.approx(3 / 13)


async def test_candles_of_an_unknown_series_are_not_found(platform):
    answer = await platform.client.get("/v1/market/candles", params=BTC)
    assert answer.status_code == 404
    assert "binance" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"symbol": "BTCUSDT"}, "query.symbol"),
        ({"timeframe": "7m"}, "query.timeframe"),
        ({"exchange": "../etc"}, "query.exchange"),
        ({"limit": 0}, "query.limit"),
        ({"start": "2024-01-01T00:00:00"}, "query.start"),
    ],
)
async def test_a_wrong_question_names_the_field(platform, asked, field):
    answer = await platform.client.get("/v1/market/candles", params=BTC | asked)
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["errors"]] == [field]


async def test_a_span_that_ends_before_it_starts_is_refused(platform):
    span = {"start": "2024-01-02T00:00:00Z", "end": "2024-01-01T00:00:00Z"}
    answer = await platform.client.get("/v1/market/candles", params=BTC | span)
    assert answer.status_code == 422
    assert "before" in answer.json()["detail"]


async def test_series_say_what_is_stored(platform, ten_candles):
    answer = await platform.client.get("/v1/market/series")
    [series] = answer.json()["series"]
    assert series["key"] == "binance:BTC-USDT:1h"
    assert series["candles"] == 10
    assert series["first"] == "2024-01-01T12:00:00Z"
    assert (await platform.client.get("/v1/market/series?exchange=kraken")).json()["series"] == []


async def test_exchanges_are_those_stored_or_collected(platform, ten_candles):
    collector = a_collector()
    kraken = collector.candles.model_copy(update={"exchange": "kraken"})
    await platform.parts.set_collector(collector.model_copy(update={"candles": kraken}))
    found = (await platform.client.get("/v1/market/exchanges")).json()["exchanges"]
    assert found == [
        {"exchange": "binance", "stored_series": 1, "collected_series": 0},
        {"exchange": "kraken", "stored_series": 0, "collected_series": 1},
    ]


async def test_symbols_come_from_the_venue(platform):
    answer = await platform.client.get("/v1/market/symbols", params={"exchange": "binance"})
    assert answer.json()["symbols"] == ["BTC/USDT", "ETH/USDT"]
    unknown = await platform.client.get("/v1/market/symbols", params={"exchange": "nowhere"})
    assert unknown.status_code == 404


async def test_timeframes_are_all_or_those_of_a_venue(platform):
    everything = await platform.client.get("/v1/market/timeframes")
    assert everything.json()["timeframes"] == [timeframe.value for timeframe in Timeframe]
    offered = await platform.client.get("/v1/market/timeframes", params={"exchange": "binance"})
    assert offered.json()["timeframes"] == ["1m", "1h"]


async def test_gaps_tell_no_trades_from_not_fetched(platform):
    candles = merge(a_walk(3), a_walk(3, NOON + 8 * HOUR))
    await platform.ports.candles.upsert(BTC_HOURLY, candles, [Interval(NOON, NOON + 5 * HOUR)])
    answer = (await platform.client.get("/v1/market/gaps", params=BTC)).json()
    assert (answer["no_trades"], answer["not_fetched"], answer["present"]) == (2, 3, 6)
    assert [gap["kind"] for gap in answer["gaps"]] == ["no trades", "not fetched"]
    only = BTC | {"kind": "not fetched"}
    [gap] = (await platform.client.get("/v1/market/gaps", params=only)).json()["gaps"]
    assert gap["missing"] == 3


async def test_candles_that_have_not_closed_are_not_missing(platform):
    newest = NOW.replace(minute=0, second=0, microsecond=0) - HOUR
    await platform.ports.candles.upsert(BTC_HOURLY, a_walk(3, newest - 2 * HOUR))
    asked = BTC | {"start": (newest - 2 * HOUR).isoformat(), "end": (NOW + 50 * HOUR).isoformat()}
    gaps = (await platform.client.get("/v1/market/gaps", params=asked)).json()
    assert (gaps["present"], gaps["not_fetched"], gaps["no_trades"]) == (3, 0, 0)
    stats = (await platform.client.get("/v1/market/stats", params=asked)).json()
    assert stats["missing_share"] == 0
    graded = await platform.client.get("/v1/market/candles", params=asked | {"quality": "true"})
    assert graded.json()["quality"]["missing_share"] == 0


async def test_statistics_of_a_series(platform, ten_candles):
    answer = (await platform.client.get("/v1/market/stats", params=BTC)).json()
    assert answer["candles"] == 10
    assert answer["highest"] == ten_candles.column("high").max()


async def test_a_backfill_is_started_and_watched(platform):
    asked = BTC | {"start": "2024-01-01T00:00:00Z"}
    started = await platform.client.post("/v1/market/backfills", json=asked)
    assert started.status_code == 202
    found = (await platform.client.get(f"/v1/market/backfills/{started.json()['id']}")).json()
    assert found["state"] == "queued"
    # Without an end, up to the platform's own now.
    assert found["end"] == NOW.isoformat().replace("+00:00", "Z")
    assert len((await platform.client.get("/v1/market/backfills")).json()["backfills"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": "2030-01-01T00:00:00Z"},
        {"start": "2024-01-02T00:00:00Z", "end": "2024-01-01T00:00:00Z"},
        {"start": "yesterday"},
        {"start": "2024-01-01T00:00:00Z", "surprise": 1},
    ],
)
async def test_a_backfill_that_makes_no_sense_is_refused(platform, wrong):
    answer = await platform.client.post("/v1/market/backfills", json=BTC | wrong)
    assert answer.status_code == 422
    assert platform.parts.asked == []


async def test_a_backfill_is_cancelled(platform):
    asked = BTC | {"start": "2024-01-01T00:00:00Z"}
    ids = [
        (await platform.client.post("/v1/market/backfills", json=asked)).json()["id"]
        for _ in range(2)
    ]
    answer = await platform.client.delete(f"/v1/market/backfills/{ids[0]}")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    listed = (await platform.client.get("/v1/market/backfills")).json()["backfills"]
    assert {one["id"]: one["state"] for one in listed} == {ids[0]: "cancelled", ids[1]: "queued"}


async def test_an_unknown_backfill_is_not_found(platform):
    assert (await platform.client.get("/v1/market/backfills/nope")).status_code == 404
    assert (await platform.client.delete("/v1/market/backfills/nope")).status_code == 404
