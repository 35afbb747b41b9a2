"""The forecast worker on a real Ray, Serve and Valkey: from no model to a record."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from ray import serve
from ray.exceptions import ActorUnavailableError

from finsight.actors.forecast_worker import ForecastWorker
from finsight.deployments.forecaster import Forecaster
from finsight.domain.candle_table import CandleTable
from finsight.domain.events import CandlesCollected
from finsight.domain.forecast import Basis, Role
from finsight.domain.health import PartState
from finsight.domain.timeframe import Timeframe
from finsight.services.promotion import appoint
from finsight.settings import APP_NAME, ForecastingSettings, Settings
from finsight.wiring import (
    fit_forecaster,
    open_candle_store,
    open_clock,
    open_event_bus,
    open_forecast_store,
    open_model_registry,
)
from tests.builders import BTC_HOURLY, ETH_HOURLY, HOUR, a_walk
from tests.ray.ended_actors import end

pytestmark = pytest.mark.timeout(300)

ROWS = 400
HELD_OUT = 60
"""The last 15 % of them."""

WITHIN_S = 200.0


def newest_closed() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, valkey_server: str) -> Settings:
    """The clock is set ten minutes after an hour, so that no candle closes meanwhile."""
    now = datetime.now(UTC)
    quiet = now.replace(minute=10, second=0, microsecond=0)
    return Settings(
        data_dir=tmp_path_factory.mktemp("data"),
        redis_url=SecretStr(valkey_server),
        clock_offset_s=(quiet - now).total_seconds(),
        forecasting=ForecastingSettings(
            horizon=6, input_candles=48, train_steps=20, min_train_candles=300
        ),
    )


@pytest.fixture(scope="module")
def forecaster(serving: str, settings: Settings) -> Iterator[None]:
    bound = Forecaster.options(ray_actor_options={"num_cpus": 0}).bind(settings, poll_s=0.5)
    serve.run(bound, name=APP_NAME, route_prefix=None)
    yield
    serve.delete(APP_NAME)


@pytest.fixture
async def worker(
    ray_cluster: Any, forecaster: None, settings: Settings, valkey_url: str
) -> AsyncIterator[Any]:
    actor = ray_cluster.remote(ForecastWorker).options(num_cpus=0, max_restarts=-1)
    handle = actor.remote(settings)
    yield handle
    end(ray_cluster, handle)


async def collected(settings: Settings, series: Any, candles: CandleTable) -> None:
    """Store candles and announce them, as a collector does."""
    await open_candle_store(settings).upsert(series, candles)
    bus = open_event_bus(settings)
    first, last = candles.first_opened_at, candles.last_opened_at
    assert first is not None
    assert last is not None
    event = CandlesCollected(
        happened_at=last, series=series, count=len(candles), first=first, last=last
    )
    await bus.publish([event])
    await bus.close()


async def until(worker: Any, done: Callable[[], Awaitable[bool]]) -> list[str]:
    """Wait until `done`, keeping the worker running; return what its health said."""
    said: list[str] = []
    give_up = time.monotonic() + WITHIN_S
    while not await done():
        # As the supervisor does: a worker that Ray is building again is asked again.
        with contextlib.suppress(ActorUnavailableError):
            [health] = await worker.ensure_running.remote()
            assert health.state in (PartState.OK, PartState.LATE)
            if health.detail and health.detail not in said:
                said.append(health.detail)
        assert time.monotonic() < give_up, f"not within {WITHIN_S} s; the worker said {said}"
        await asyncio.sleep(0.1)
    return said


async def test_from_no_model_to_a_record_then_on_after_a_crash(
    worker: Any, settings: Settings, ray_cluster: Any
) -> None:
    newest = newest_closed()
    start = newest - (ROWS - 1) * HOUR
    store = open_forecast_store(settings)
    before_last = CandleTable(a_walk(ROWS, start).arrow.slice(0, ROWS - 1))
    await collected(settings, BTC_HOURLY, before_last)
    await collected(settings, ETH_HOURLY, a_walk(ROWS, start, seed=1))

    async def has_a_record() -> bool:
        errors = [await store.errors(series, None) for series in (BTC_HOURLY, ETH_HOURLY)]
        return all(len([e for e in found if e.model == "PatchTST"]) >= 8 for found in errors)

    said = await until(worker, has_a_record)
    assert any(text.startswith("training PatchTST for 1h") for text in said), said

    champion = open_model_registry(settings).champion("forecaster-1h")
    assert champion is not None
    trained_until = datetime.fromisoformat(champion.tags["trained_until"])
    assert trained_until == newest - (HELD_OUT - 1) * HOUR
    for error in await store.errors(None, None):
        assert error.origin >= trained_until - HOUR
    latest = await store.latest(ETH_HOURLY)
    assert latest is not None
    assert (latest.origin, latest.model, latest.basis) == (newest, "PatchTST", Basis.EXACT_SERIES)

    # Killed, and brought back as the supervisor does: it goes on with the next candle.
    ray_cluster.kill(worker, no_restart=False)
    await collected(settings, BTC_HOURLY, CandleTable(a_walk(ROWS, start).arrow.slice(ROWS - 1)))

    async def forecast_from_the_newest() -> bool:
        made = await store.latest(BTC_HOURLY)
        return made is not None and made.origin == newest

    await asyncio.sleep(1.0)
    await until(worker, forecast_from_the_newest)
    made = await store.latest(BTC_HOURLY)
    assert made is not None
    assert made.model == "PatchTST"
    assert len(open_model_registry(settings).versions("forecaster-1h")) == 1
    ids = [scored.forecast.id for scored in await store.recent(None, 1000)]
    assert len(ids) == len(set(ids))


async def test_old_candles_of_a_backfill_make_no_forecasts(worker: Any, settings: Settings) -> None:
    old = BTC_HOURLY.model_copy(update={"exchange": "kraken"})
    newest = newest_closed()
    await collected(settings, old, a_walk(200, newest - timedelta(days=30)))
    recent = BTC_HOURLY.model_copy(update={"exchange": "coinbase"})
    await collected(settings, recent, a_walk(200, newest - 199 * HOUR, seed=3))
    store = open_forecast_store(settings)

    async def recent_has_one() -> bool:
        return await store.latest(recent) is not None

    await until(worker, recent_has_one)
    assert await store.latest(old) is None


async def test_after_a_promotion_the_predecessor_forecasts_on_as_a_shadow(
    worker: Any, settings: Settings, tmp_path: Path
) -> None:
    registry, store = open_model_registry(settings), open_forecast_store(settings)
    model = fit_forecaster(settings, Timeframe.H1, {BTC_HOURLY.key: a_walk(300)})
    model.save(tmp_path / "files")
    old, new = (
        registry.register(
            "forecaster-1h", tmp_path / "files", params={}, metrics={}, tags={"model": model.name}
        )
        for _ in range(2)
    )
    registry.set_champion("forecaster-1h", old.version)
    clock = open_clock(settings)
    appoint(registry, clock, "forecaster-1h", new.version, by="a test", reason="to see")
    newest = newest_closed()
    await collected(settings, BTC_HOURLY, a_walk(200, newest - 199 * HOUR))

    async def made_by() -> dict[str, Role]:
        due = await store.due(BTC_HOURLY, newest + timedelta(days=2), 100)
        return {one.model_version: one.role for one in due if one.origin == newest}

    async def both_forecast() -> bool:
        return {old.version, new.version} <= set(await made_by())

    said = await until(worker, both_forecast)
    roles = await made_by()
    assert (roles[old.version], roles[new.version]) == (Role.SHADOW, Role.CHAMPION)
    latest = await store.latest(BTC_HOURLY)
    assert latest is not None
    assert latest.model_version == new.version
    watched = f"version {new.version} is watched beside version {old.version}, 0 of 192 origins"
    assert any(watched in text for text in said), said
