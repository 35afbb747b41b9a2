"""The gateway on a real Serve: HTTP in, handles across processes, problems and streams out."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta

import httpx
import numpy as np
import pytest
from ray import serve

from finsight.deployments.gateway import Gateway
from finsight.domain.errors import InvalidInput
from finsight.domain.events import CandlesCollected, SentimentScored
from finsight.domain.forecast import Basis
from finsight.domain.sentiment import SentimentScore
from finsight.ports.models import ForecastInput, ServedForecast
from finsight.settings import Settings
from finsight.wiring import open_candle_store, open_event_bus
from tests.builders import BTC_HOURLY, NOON, a_walk

BTC = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h"}


@serve.deployment(name="Sentiment", ray_actor_options={"num_cpus": 0})
class EvenSentiment:
    """Finds every text neutral, and refuses the word "refuse" as a real model refuses a blank."""

    async def score(self, texts: list[str]) -> list[SentimentScore]:
        if "refuse" in texts:
            raise InvalidInput("texts[0] can't be scored")
        if "die" in texts:
            os._exit(1)
        return [
            SentimentScore(negative=0, neutral=1, positive=0, model="even", model_version="1")
            for _ in texts
        ]


@serve.deployment(name="Forecaster", ray_actor_options={"num_cpus": 0})
class FlatForecaster:
    """Forecasts the last close."""

    async def forecast(self, request: ForecastInput) -> ServedForecast:
        flat = np.full((request.horizon, 5), request.closes[-1])
        return ServedForecast(flat, flat, "flat", "1", Basis.NAIVE, "the only one there is")


@serve.deployment(name="Platform", ray_actor_options={"num_cpus": 0})
class NoPlatform:
    """Starts nothing."""


@pytest.fixture(scope="module")
def platform_settings(valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("gateway"), redis_url=valkey_server)


@pytest.fixture(scope="module")
def address(serving: str, platform_settings: Settings):
    """Where the gateway answers."""
    serve.run(
        Gateway.options(
            ray_actor_options={"num_cpus": 0}, user_config={"max_open_streams": 2}
        ).bind(
            platform_settings,
            sentiment=EvenSentiment.bind(),
            forecaster=FlatForecaster.bind(),
            platform=NoPlatform.bind(),
        ),
        name="gateway-test",
    )
    yield serving
    serve.delete("gateway-test")


@pytest.fixture
def client(address: str):
    with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
        yield client


def test_the_process_answers(client):
    assert client.get("/healthz").json() == {"status": "ok"}


def test_texts_are_scored_through_the_deployment(client):
    answer = client.post("/v1/sentiment/score", json={"texts": ["a", "b"]})
    assert [score["label"] for score in answer.json()["scores"]] == ["neutral", "neutral"]


def test_an_error_in_a_deployment_is_a_problem_without_its_traceback(client):
    answer = client.post("/v1/sentiment/score", json={"texts": ["refuse"]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "texts[0] can't be scored"
    assert "Traceback" not in answer.text


def test_a_replica_that_dies_is_a_503_and_the_next_one_answers(client):
    answer = client.post("/v1/sentiment/score", json={"texts": ["die"]})
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    deadline = time.monotonic() + 60
    while client.post("/v1/sentiment/score", json={"texts": ["a"]}).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_candles_are_read_and_forecast(client, platform_settings, run_async):
    walk = a_walk(300)
    run_async(open_candle_store(platform_settings).upsert(BTC_HOURLY, walk))
    candles = client.get("/v1/market/candles", params=BTC | {"limit": 2}).json()["candles"]
    assert [row["close"] for row in candles] == walk.column("close").tolist()[-2:]
    answer = client.post("/v1/predictions", json=BTC | {"horizon": 3})
    assert answer.status_code == 200
    forecast = answer.json()["forecast"]
    assert len(forecast["steps"]) == 3
    assert forecast["model"] == "flat"


def test_without_a_supervisor_it_stays_up_and_is_not_ready(client):
    answer = client.get("/readyz")
    assert answer.status_code == 503
    parts = {part["part"]: part["state"] for part in answer.json()["parts"]}
    assert parts["supervisor"] == "failed"
    assert parts["store:events"] == "ok"
    assert client.get("/v1/collectors").status_code == 503


def test_a_stream_goes_on_after_the_last_event_that_was_seen(client, platform_settings, run_async):
    scored = SentimentScored(happened_at=NOON, article_id="a", label="positive", score=0.5)
    candles = CandlesCollected(
        happened_at=NOON, series=BTC_HOURLY, count=1, first=NOON, last=NOON + timedelta(hours=1)
    )
    ids = run_async(publish(platform_settings, [scored, candles, scored]))
    headers = {"Last-Event-ID": ids[0]}
    seen = []
    with client.stream("GET", "/v1/stream", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if name in ("event", "id"):
                seen.append(value)
            if name == "data":
                assert json.loads(value)["kind"]
            if len(seen) == 4:
                break
    assert seen == ["candles", ids[1], "scores", ids[2]]


def test_streams_have_a_limit_and_give_their_place_back(client, address):
    with (
        httpx.Client(base_url=address, timeout=20, trust_env=False) as other,
        client.stream("GET", "/v1/stream"),
        other.stream("GET", "/v1/stream"),
    ):
        refused = httpx.get(f"{address}/v1/stream", trust_env=False)
        assert refused.status_code == 503
        assert "streams" in refused.json()["detail"]
        assert httpx.get(f"{address}/healthz", trust_env=False).status_code == 200
    deadline = time.monotonic() + 10
    while True:
        with client.stream("GET", "/v1/stream") as again:
            if again.status_code == 200:
                break
        assert time.monotonic() < deadline
        time.sleep(0.1)


async def publish(settings: Settings, events) -> list[str]:
    bus = open_event_bus(settings)
    try:
        return await bus.publish(events)
    finally:
        await bus.close()
