"""The prediction routes: real stores, the naive forecaster answering."""

from datetime import timedelta

import pytest

from finsight.domain.interval import Interval
from finsight.services.forecast_scoring import ForecastScoring
from tests.builders import BTC_HOURLY, HOUR, a_walk
from tests.unit.http_platform import NOW, running

BTC = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h"}
LAST = NOW.replace(minute=0) - HOUR
FIRST = LAST - 299 * HOUR


@pytest.fixture
async def platform(settings):
    async with running(settings) as platform:
        await platform.ports.candles.upsert(
            BTC_HOURLY, a_walk(300, FIRST), [Interval(FIRST, LAST + HOUR)]
        )
        yield platform


async def test_a_forecast_comes_with_intervals_beside_naive_and_says_why(platform):
    answer = await platform.client.post("/v1/predictions", json=BTC | {"horizon": 6})
    assert answer.status_code == 200
    body = answer.json()
    forecast = body["forecast"]
    assert forecast["model"] == "naive"
    assert "no model is trained yet" in forecast["reason"]
    assert len(forecast["steps"]) == len(forecast["naive"]) == 6
    step = forecast["steps"][-1]
    assert step["low_95"] <= step["low_80"] <= step["median"] <= step["high_80"] <= step["high_95"]
    assert body["candles"][-1]["close"] == forecast["last_close"]
    assert body["sentiment"]


async def test_without_a_horizon_the_settings_decide(platform):
    forecast = (await platform.client.post("/v1/predictions", json=BTC)).json()["forecast"]
    assert len(forecast["steps"]) == platform.ports.settings.forecasting.horizon


async def test_a_forecast_is_kept_and_listed(platform):
    made = (await platform.client.post("/v1/predictions", json=BTC)).json()["forecast"]
    [listed] = (await platform.client.get("/v1/predictions", params=BTC)).json()["predictions"]
    assert listed["forecast"]["id"] == made["id"]
    assert listed["outcome"] is None
    one = await platform.client.get(f"/v1/predictions/{made['id']}")
    assert one.json()["forecast"] == made
    assert (await platform.client.get("/v1/predictions/unknown")).status_code == 404


async def test_the_record_shows_how_forecasts_turned_out(platform):
    await platform.client.post("/v1/predictions", json=BTC | {"horizon": 3})
    nothing = (await platform.client.get("/v1/predictions/accuracy")).json()
    assert nothing["records"] == []
    await platform.ports.candles.upsert(BTC_HOURLY, a_walk(3, LAST + HOUR, seed=1))
    platform.clock.moment = NOW + timedelta(hours=5)
    scoring = ForecastScoring(platform.ports.candles, platform.ports.forecasts, platform.clock)
    assert len(await scoring.score_due(BTC_HOURLY)) == 1
    [record] = (await platform.client.get("/v1/predictions/accuracy", params=BTC)).json()["records"]
    assert record["forecasts"] == 1
    assert record["model"] == "naive"
    assert record["ratio_to_naive"] == 1


async def test_a_running_event_bus_is_not_needed(platform):
    # The settings name no server, and the embedded one doesn't run.
    answer = await platform.client.post("/v1/predictions", json=BTC)
    assert answer.status_code == 200


async def test_an_unknown_series_is_not_found_and_says_what_is_there(platform):
    answer = await platform.client.post("/v1/predictions", json=BTC | {"symbol": "DOGE/USDT"})
    assert answer.status_code == 404
    assert "binance BTC/USDT 1h" in answer.json()["detail"]


@pytest.mark.parametrize(
    "wrong",
    [{"horizon": 0}, {"horizon": 721}, {"horizon": "far"}, {"symbol": "BTC"}, {"model": "best"}],
)
async def test_a_wrong_question_is_refused(platform, wrong):
    answer = await platform.client.post("/v1/predictions", json=BTC | wrong)
    assert answer.status_code == 422
    assert answer.json()["errors"]


async def test_too_little_history_is_refused_and_not_made_up(platform):
    short = {"exchange": "binance", "symbol": "ETH/USDT", "timeframe": "1h"}
    series = BTC_HOURLY.model_copy(update={"symbol": "ETH/USDT"})
    await platform.ports.candles.upsert(series, a_walk(5, LAST - 4 * HOUR))
    answer = await platform.client.post("/v1/predictions", json=short)
    assert answer.status_code == 422
    assert "5" in answer.json()["detail"]


async def test_half_a_series_is_refused(platform):
    answer = await platform.client.get("/v1/predictions", params={"exchange": "binance"})
    assert answer.status_code == 422
