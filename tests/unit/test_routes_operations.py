"""Health, readiness, dead letters, documentation; and a gateway whose Redis is down."""

from datetime import timedelta

import pytest

from finsight.adapters.events.redis_streams import RedisStreamsBus
from finsight.domain.events import SentimentScored
from finsight.domain.health import PartHealth, PartState
from finsight.settings import Settings
from tests.builders import NOON, an_article
from tests.unit.http_platform import NOW, running


@pytest.fixture
async def platform(tmp_path, valkey_url):
    settings = Settings(data_dir=tmp_path, redis_url=valkey_url)
    bus = RedisStreamsBus(valkey_url, claim_after=timedelta(milliseconds=20))
    async with running(settings, bus=bus) as platform:
        yield platform


@pytest.fixture
async def platform_without_redis(settings):
    async with running(settings) as platform:
        yield platform


async def parts_of(platform) -> tuple[int, dict[str, dict]]:
    answer = await platform.client.get("/readyz")
    assert answer.json()["ready"] == (answer.status_code == 200)
    return answer.status_code, {part["part"]: part for part in answer.json()["parts"]}


async def test_the_process_answers(platform_without_redis):
    answer = await platform_without_redis.client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok"}


async def test_it_is_ready_when_every_part_is(platform):
    platform.parts.parts = [PartHealth(part="news:coindesk", state=PartState.LATE, age_s=7200)]
    status, parts = await parts_of(platform)
    assert status == 200
    assert parts["news:coindesk"]["age_s"] == 7200
    assert {"store:candles", "store:articles", "store:events", "deployment:Sentiment"} <= set(parts)


@pytest.mark.parametrize("state", [PartState.STARTING, PartState.FAILED])
@pytest.mark.parametrize("part", ["supervisor", "collectors", "sentiment-worker:0", "redis"])
async def test_an_essential_part_that_starts_or_failed_makes_it_not_ready(platform, part, state):
    platform.parts.parts = [PartHealth(part=part, state=state)]
    assert (await parts_of(platform))[0] == 503


@pytest.mark.parametrize("state", [PartState.STARTING, PartState.FAILED, PartState.LATE])
@pytest.mark.parametrize("part", ["news:coindesk", "candles:binance:XYZ-USDT:1h", "news"])
async def test_a_collector_in_trouble_is_shown_and_takes_nothing_else_out(platform, part, state):
    platform.parts.parts = [PartHealth(part=part, state=state)]
    answer = await platform.client.get("/readyz")
    assert answer.status_code == 200
    assert (answer.json()["ready"], answer.json()["degraded"]) == (True, True)
    assert {"part": part, "state": state} in [
        {"part": one["part"], "state": one["state"]} for one in answer.json()["parts"]
    ]


async def test_with_every_part_well_or_stopped_it_is_not_degraded(platform):
    platform.parts.parts = [
        PartHealth(part="news:coindesk", state=PartState.OK),
        PartHealth(part="news:cointelegraph", state=PartState.STOPPED),
    ]
    assert (await platform.client.get("/readyz")).json()["degraded"] is False


@pytest.mark.parametrize("state", [PartState.LATE, PartState.STOPPED])
async def test_old_data_or_a_stopped_collector_do_not(platform, state):
    platform.parts.parts = [PartHealth(part="news:coindesk", state=state)]
    assert (await parts_of(platform))[0] == 200


async def test_readiness_tells_the_age_of_the_newest_article(platform):
    await platform.ports.articles.add([an_article()])
    _, parts = await parts_of(platform)
    assert parts["store:articles"]["age_s"] == (NOW - NOON).total_seconds()


async def test_without_redis_it_answers_and_says_what_is_missing(platform_without_redis):
    status, parts = await parts_of(platform_without_redis)
    assert status == 503
    assert parts["store:events"]["state"] == "failed"
    assert "finsight up" in parts["store:events"]["detail"]
    assert parts["store:candles"]["state"] == "ok"


@pytest.mark.parametrize("path", ["/v1/stream", "/v1/operations/dead-letters"])
async def test_what_needs_redis_is_a_503_without_it(platform_without_redis, path):
    answer = await platform_without_redis.client.get(path)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert "retry-after" in answer.headers


async def test_a_redis_that_went_away_is_a_503_and_the_rest_goes_on(tmp_path):
    nobody_listens = "redis://127.0.0.1:1/0"
    async with running(Settings(data_dir=tmp_path, redis_url=nobody_listens)) as platform:
        answer = await platform.client.get("/v1/stream")
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:finsight:store-unavailable"
        status, parts = await parts_of(platform)
        assert (status, parts["store:events"]["state"]) == (503, "failed")
        assert (await platform.client.get("/v1/market/series")).status_code == 200


async def test_an_operator_sees_dead_letters_and_sends_them_again(platform):
    bus = platform.ports.bus.get()
    event = SentimentScored(happened_at=NOON, article_id="a", label="neutral", score=0)
    await bus.publish([event])
    while not await bus.count_dead_letters():
        for delivery in await bus.receive("forecasts", "one", ["SentimentScored"], 1, 0.1):
            await bus.fail("forecasts", delivery, "the disk was full")

    listed = (await platform.client.get("/v1/operations/dead-letters")).json()
    assert listed["count"] == 1
    [letter] = listed["dead_letters"]
    assert letter["error"] == "the disk was full"

    path = f"/v1/operations/dead-letters/{letter['id']}/resend"
    assert (await platform.client.post(path)).status_code == 200
    assert (await platform.client.get("/v1/operations/dead-letters")).json()["count"] == 0
    [again] = await bus.receive("forecasts", "one", ["SentimentScored"], 1, 5.0)
    assert again.event == event
    assert (await platform.client.post(path)).status_code == 404


async def test_the_documentation_needs_no_internet(platform_without_redis):
    front = await platform_without_redis.client.get("/", follow_redirects=True)
    assert front.url.path == "/docs"
    assert "openapi.json" in front.text
    assert "https://" not in front.text


async def test_every_route_is_described_and_tagged(platform_without_redis):
    api = (await platform_without_redis.client.get("/openapi.json")).json()
    tags = {tag["name"] for tag in api["tags"]}
    for path, methods in api["paths"].items():
        for method, route in methods.items():
            assert route.get("description"), f"{method} {path} says nothing of itself"
            assert set(route["tags"]) <= tags
            body = route.get("requestBody", {}).get("content", {}).get("application/json")
            if body:
                name = body["schema"].get("$ref", "").split("/")[-1]
                schema = api["components"]["schemas"].get(name, {})
                shown = "example" in schema or body.get("examples")
                assert shown, f"{method} {path} has no example"
