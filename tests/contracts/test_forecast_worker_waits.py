"""The forecast worker on a real Valkey, without Ray, while the forecaster is away."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from finsight.actors import forecast_worker
from finsight.adapters.events.redis_stream_records import EVENTS_KEY
from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.domain.candle import Series
from finsight.domain.errors import ModelUnavailable, StoreUnavailable
from finsight.domain.events import CandlesCollected
from finsight.domain.forecast import Basis
from finsight.domain.health import PartState
from finsight.ports.events import MAX_ATTEMPTS
from finsight.ports.models import ForecastInput, ServedForecast
from finsight.settings import ForecastingSettings, Settings
from finsight.wiring import open_candle_store, open_event_bus, open_forecast_store
from tests.builders import BTC_HOURLY, ETH_HOURLY, HOUR, a_walk


class Forecaster:
    """Answers as the naive one, or not at all; `asked` counts how often it was tried."""

    def __init__(self) -> None:
        self.away_for: dict[str, Exception] = {}
        self.asked = 0

    async def forecast(self, request: ForecastInput) -> ServedForecast:
        self.asked += 1
        if request.series.key in self.away_for:
            raise self.away_for[request.series.key]
        naive = NaiveForecaster()
        [path] = naive.forecast([request])
        return ServedForecast(path, path, naive.name, naive.version, Basis.NAIVE, "a test")


@pytest.fixture
def forecaster(monkeypatch: pytest.MonkeyPatch) -> Forecaster:
    forecaster = Forecaster()
    monkeypatch.setattr(forecast_worker, "ServedForecasts", lambda **_: forecaster)
    monkeypatch.setattr(forecast_worker, "_AGAIN_S", 0.05)
    return forecaster


@pytest.fixture
def settings(tmp_path: Path, valkey_url: str) -> Settings:
    return Settings(
        data_dir=tmp_path,
        redis_url=SecretStr(valkey_url),
        forecasting=ForecastingSettings(train_when_missing=False),
    )


@pytest.fixture
async def worker(
    settings: Settings, forecaster: Forecaster
) -> AsyncIterator[forecast_worker.ForecastWorker]:
    worker = forecast_worker.ForecastWorker(settings)
    yield worker
    for task in worker._tasks.values():
        # A cancel that meets the end of a wait for events is taken for the end of the wait.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1)
    if worker._ports is not None:
        await worker._ports.bus.close()


async def collected(settings: Settings, series: Series) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    candles = a_walk(200, hour - 200 * HOUR)
    first, last = candles.first_opened_at, candles.last_opened_at
    assert first is not None
    assert last is not None
    await open_candle_store(settings).upsert(series, candles)
    bus = open_event_bus(settings)
    event = CandlesCollected(happened_at=last, series=series, count=200, first=first, last=last)
    await bus.publish([event])
    await bus.close()


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    give_up = time.monotonic() + 30
    while not await done():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("error", [ModelUnavailable("starting"), StoreUnavailable("no disk")])
async def test_events_wait_for_what_is_away_and_are_not_given_up(
    worker: forecast_worker.ForecastWorker,
    forecaster: Forecaster,
    settings: Settings,
    error: Exception,
) -> None:
    forecaster.away_for = {BTC_HOURLY.key: error}
    await collected(settings, BTC_HOURLY)
    await worker.ensure_running()

    async def tried_more_often_than_any_event_is() -> bool:
        return forecaster.asked > 2 * MAX_ATTEMPTS

    await until(tried_more_often_than_any_event_is)
    [health] = await worker.ensure_running()
    assert health.state is PartState.LATE
    assert str(error) in health.detail

    # It keeps no other series waiting.
    forecasts = open_forecast_store(settings)
    await collected(settings, ETH_HOURLY)

    async def the_other_is_forecast() -> bool:
        return await forecasts.latest(ETH_HOURLY) is not None

    await until(the_other_is_forecast)
    assert await forecasts.latest(BTC_HOURLY) is None

    forecaster.away_for = {}

    async def it_is_forecast() -> bool:
        return await forecasts.latest(BTC_HOURLY) is not None

    await until(it_is_forecast)
    bus = open_event_bus(settings)
    assert await bus.count_dead_letters() == 0
    await bus.close()

    async def it_is_well_and_nothing_is_left() -> bool:
        [health] = await worker.ensure_running()
        with Redis.from_url(settings.redis_url.get_secret_value()) as redis:  # type: ignore[union-attr]
            left = redis.xpending(EVENTS_KEY, "forecasts")["pending"]
        return health.state is PartState.OK and left == 0

    await until(it_is_well_and_nothing_is_left)
