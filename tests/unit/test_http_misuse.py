"""What clients send that they shouldn't: a problem that says so, never an unexpected error."""

import json
from collections.abc import AsyncIterator

import pytest

from finsight.deployments.body_limit import MAX_BODY_BYTES
from finsight.domain.interval import Interval
from finsight.settings import Settings
from tests.builders import BTC_HOURLY, HOUR, NOON, a_walk
from tests.unit.http_platform import HttpPlatform, running

BTC = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h"}
FIRST_MOMENT, LAST_MOMENT = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
BEFORE_THE_FIRST = "0001-01-01T00:00:00+14:00"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def platform(settings: Settings) -> AsyncIterator[HttpPlatform]:
    async with running(settings) as made:
        await made.ports.candles.upsert(BTC_HOURLY, a_walk(10), [Interval(NOON, NOON + 10 * HOUR)])
        yield made


@pytest.mark.parametrize("moment", [FIRST_MOMENT, LAST_MOMENT, BEFORE_THE_FIRST])
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/market/candles", ("start", "end")),
        ("/v1/market/gaps", ("start", "end")),
        ("/v1/market/stats", ("start", "end")),
        ("/v1/sentiment/trend", ("start", "end")),
        ("/v1/news/articles", ("after", "before")),
        ("/v1/predictions/accuracy", ("since",)),
    ],
)
async def test_a_moment_out_of_our_time_is_refused(
    platform: HttpPlatform, path: str, names: tuple[str, ...], moment: str
) -> None:
    for name in names:
        answer = await platform.client.get(path, params={**BTC, "symbol": "BTC/USDT", name: moment})
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        {**BTC, "start": FIRST_MOMENT},
        {**BTC, "start": "2024-01-01T00:00:00Z", "end": LAST_MOMENT},
        {**BTC},
    ],
)
async def test_a_backfill_of_no_sensible_span_is_refused(platform, body):
    answer = await platform.client.post("/v1/market/backfills", json=body)
    assert answer.status_code == 422
    assert platform.parts.asked == []


async def test_gaps_are_filled_from_what_was_fetched_first_on(platform):
    answer = await platform.client.post("/v1/market/backfills", json={**BTC, "gaps_only": True})
    assert answer.status_code == 202
    [asked] = platform.parts.asked
    assert asked.start == NOON


async def test_a_series_of_which_nothing_was_fetched_has_no_gaps_to_fill(platform):
    other = {**BTC, "symbol": "ETH/USDT", "gaps_only": True}
    answer = await platform.client.post("/v1/market/backfills", json=other)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "collector",
    [
        {"candles": {**BTC, "since": FIRST_MOMENT}},
        {"news": {"name": "slow", "url": "https://feed.example/", "poll_s": 1e308}},
        {"news": {"name": "fast", "url": "https://feed.example/", "poll_s": 0}},
    ],
)
async def test_a_collector_with_absurd_numbers_is_refused(platform, collector):
    answer = await platform.client.post("/v1/collectors", json=collector)
    assert answer.status_code == 422
    assert platform.parts.kept == {}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"not json", "body: is not JSON"),
        (b'{"texts": ["half"', "body: is not JSON"),
        (b'{"texts": ["\\ud83d"]}', "half a character"),
        (b'{"texts": [null]}', "body.texts.0"),
        (b"[]", "should be a JSON object"),
    ],
)
async def test_a_body_that_is_wrong_is_named_so(platform, body, said):
    answer = await platform.client.post("/v1/sentiment/score", content=body, headers=JSON)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


async def test_a_body_of_another_content_type_is_told_which_to_send(platform):
    answer = await platform.client.post(
        "/v1/sentiment/score", content=b'{"texts": ["x"]}', headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["detail"]


async def test_a_body_beyond_the_limit_is_refused_by_what_it_announces(platform):
    announced = {**JSON, "Content-Length": str(MAX_BODY_BYTES + 1)}
    answer = await platform.client.post("/v1/sentiment/score", content=b"{}", headers=announced)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_beyond_the_limit_is_refused_while_it_comes(platform):
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1 << 20
            yield b" " * (1 << 20)

    answer = await platform.client.post("/v1/sentiment/score", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert taken <= MAX_BODY_BYTES + (2 << 20)


async def test_the_longest_body_that_is_allowed_gets_through(platform):
    texts = json.dumps({"texts": ["bitcoin surges " * 6_600] * 256})
    answer = await platform.client.post("/v1/sentiment/score", content=texts, headers=JSON)
    assert answer.status_code == 200
    assert len(answer.json()["scores"]) == 256


async def test_the_kind_of_a_model_is_a_name_and_no_filter(platform):
    answer = await platform.client.get("/v1/models", params={"kind": "x' OR 1=1 --"})
    assert answer.status_code == 422


@pytest.mark.parametrize("text", ['"', "NEAR(", "*", "title:btc", ") --", "' OR 1=1", "-", "\x00"])
async def test_search_text_is_words_and_never_syntax(platform, text):
    answer = await platform.client.get("/v1/news/articles", params={"text": text})
    assert answer.status_code == 200


async def test_paging_to_the_end_gives_the_whole(platform):
    params: dict[str, str] = {**BTC, "start": "2020-01-01T00:00:00Z", "limit": "3"}
    answer = (await platform.client.get("/v1/market/candles", params=params)).json()
    found = answer["candles"]
    while answer["next"] is not None:
        answer = (await platform.client.get(answer["next"])).json()
        found += answer["candles"]
    whole = await platform.client.get("/v1/market/candles", params={**params, "limit": "500"})
    assert found == whole.json()["candles"]
    assert len(found) == 10
