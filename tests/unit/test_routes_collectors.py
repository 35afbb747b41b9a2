"""The collectors' routes: what is collected, changed by hand."""

import pytest

from finsight.domain.health import PartHealth, PartState
from tests.unit.http_platform import NOW, a_collector, a_feed, running

BODY = {"candles": {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h"}}
BTC_PATH = "/v1/collectors/candles:binance:BTC-USDT:1h"


@pytest.fixture
async def platform(settings):
    async with running(settings) as platform:
        yield platform


async def test_a_collector_is_added_and_listed_with_its_health(platform):
    added = await platform.client.post("/v1/collectors", json=BODY)
    assert added.status_code == 201
    assert added.json()["id"] == "candles:binance:BTC-USDT:1h"
    platform.parts.parts = [
        PartHealth(part=added.json()["id"], state=PartState.OK, newest_at=NOW, age_s=5)
    ]
    [listed] = (await platform.client.get("/v1/collectors")).json()["collectors"]
    assert listed["health"]["age_s"] == 5
    assert listed["collector"]["running"] is True


async def test_a_collector_stops_and_starts(platform):
    await platform.parts.set_collector(a_collector())
    stopped = await platform.client.post(f"{BTC_PATH}/stop")
    assert stopped.json()["collector"]["running"] is False
    assert not platform.parts.kept[stopped.json()["id"]].running
    started = await platform.client.post(f"{BTC_PATH}/start")
    assert started.json()["collector"]["running"] is True


async def test_a_collector_is_changed_in_place(platform):
    await platform.parts.set_collector(a_collector())
    since = {"candles": BODY["candles"] | {"since": "2020-01-01T00:00:00Z"}}
    changed = await platform.client.put(BTC_PATH, json=since)
    assert changed.json()["collector"]["candles"]["since"] == "2020-01-01T00:00:00Z"
    assert len(platform.parts.kept) == 1


async def test_a_change_may_not_become_another_collector(platform):
    await platform.parts.set_collector(a_collector())
    other = {"candles": BODY["candles"] | {"symbol": "ETH/USDT"}}
    answer = await platform.client.put(BTC_PATH, json=other)
    assert answer.status_code == 422
    assert list(platform.parts.kept) == ["candles:binance:BTC-USDT:1h"]


async def test_a_collector_is_removed(platform):
    await platform.parts.set_collector(a_feed())
    assert (await platform.client.delete("/v1/collectors/news:coindesk")).status_code == 204
    assert (await platform.client.get("/v1/collectors")).json()["collectors"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/stop"), ("POST", "/start"), ("DELETE", ""), ("GET", "")],
)
async def test_an_unknown_collector_is_not_found(platform, method, path):
    answer = await platform.client.request(method, f"{BTC_PATH}{path}")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        BODY | {"news": {"name": "coindesk"}},
        {"candles": {"exchange": "binance", "symbol": "BTC", "timeframe": "1h"}},
        {"news": {"name": "no spaces"}},
    ],
)
async def test_what_can_not_be_collected_is_refused(platform, body):
    answer = await platform.client.post("/v1/collectors", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert platform.parts.kept == {}
