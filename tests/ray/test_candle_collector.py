"""The collector of one exchange, killed in the middle of its work."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finsight import wiring
from finsight.actors.candle_collector import CandleCollector
from finsight.domain.backfill import Backfill, BackfillState
from finsight.domain.candle import Series
from finsight.domain.collector import CollectedSeries
from finsight.domain.errors import NotFound
from finsight.domain.health import PartHealth, PartState
from finsight.domain.timeframe import Timeframe, to_ms
from finsight.ports.events import Delivery
from finsight.recordings.faults import Fault
from finsight.recordings.server import RECORDINGS, RecordedWorld, start_recorded_world
from finsight.settings import ExchangeSettings, Settings
from tests.ray.ended_actors import end

NOW = datetime(2025, 12, 13, 12, 20, tzinfo=UTC)
SINCE = datetime(2025, 9, 1, tzinfo=UTC)
CLOSED = 2484  # hours from SINCE to the one that opened at 11:00
BTC = CollectedSeries(exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.H1, since=SINCE)
ETH = BTC.model_copy(update={"symbol": "ETH/USDT"})


@pytest.fixture
def platform(tmp_path, valkey_url) -> Iterator[tuple[Settings, RecordedWorld]]:
    offset_s = (NOW - datetime.now(UTC)).total_seconds()
    clock = wiring.open_clock(Settings(data_dir=tmp_path, clock_offset_s=offset_s))
    with start_recorded_world(RECORDINGS, clock) as world:
        exchange = ExchangeSettings(base_url=world.venue_urls["binance"], rate_limit=False)
        yield (
            Settings(
                data_dir=tmp_path,
                redis_url=valkey_url,
                clock_offset_s=offset_s,
                exchanges={"binance": exchange},
            ),
            world,
        )


@pytest.fixture
def collector(ray_cluster, platform) -> Iterator[Any]:
    actor = ray_cluster.remote(CandleCollector).options(max_restarts=-1, num_cpus=0)
    handle = actor.remote(platform[0], "binance")
    yield handle
    end(ray_cluster, handle)


def until(found: Callable[[], Any], within_s: float = 60) -> Any:
    """Return what `found` returns once it is true; a dead actor is not yet."""
    from ray.exceptions import RayActorError

    deadline = time.monotonic() + within_s
    while True:
        try:
            if answer := found():
                return answer
        except RayActorError:
            pass
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def pid_of(ray: Any, collector: Any) -> int:
    return int(ray.get(collector.__ray_call__.remote(lambda self: os.getpid())))


async def held(settings: Settings, series: Series) -> list[int]:
    store = wiring.open_candle_store(settings)
    table = await store.read(series, SINCE, NOW + timedelta(days=1))
    return table.ts_ms.tolist()


async def announced(settings: Settings) -> list[Delivery]:
    bus = wiring.open_event_bus(settings)
    try:
        return await bus.receive("test", "c", ["CandlesCollected"], 100, 1)
    finally:
        await bus.close()


def all_hours() -> list[int]:
    return [to_ms(SINCE + timedelta(hours=hour)) for hour in range(CLOSED)]


def test_killed_in_the_middle_of_a_backfill_every_candle_is_there_once(
    ray_cluster, collector, platform
):
    settings, world = platform
    # The third page of each series takes so long that the kill falls between pages.
    world.faults.add(Fault("klines", after=3, times=2, delay_s=30))
    ray_cluster.get(collector.ensure_running.remote([BTC, ETH]))
    until(lambda: sum("klines" in r for r in world.faults.requests) >= 4)
    os.kill(pid_of(ray_cluster, collector), signal.SIGKILL)
    world.faults.clear()

    def is_current() -> bool:
        health = ray_cluster.get(collector.ensure_running.remote([BTC, ETH]))
        return all(part.state is PartState.OK for part in health)

    until(is_current)
    for wanted in (BTC, ETH):
        assert asyncio.run(held(settings, wanted.series)) == all_hours()
    deliveries = asyncio.run(announced(settings))
    assert {d.event.series for d in deliveries} == {BTC.series, ETH.series}
    assert max(d.event.last for d in deliveries) == NOW.replace(minute=0) - timedelta(hours=1)


def test_a_backfill_asked_for_goes_on_after_a_kill(ray_cluster, collector, platform):
    settings, world = platform
    ray_cluster.get(collector.ensure_running.remote([]))
    # The second page takes longer than candles are kept in memory, the third for ever.
    world.faults.add(Fault("klines", after=1, delay_s=5.5))
    world.faults.add(Fault("klines", delay_s=60))
    id_ = ray_cluster.get(collector.backfill.remote(BTC.series, SINCE, NOW, False))
    until(lambda: sum("klines" in r for r in world.faults.requests) >= 3)
    stored = all_hours()[:2000]
    until(lambda: asyncio.run(held(settings, BTC.series)) == stored)
    assert [b.state for b in _backfills(ray_cluster, collector)] == [BackfillState.RUNNING]
    os.kill(pid_of(ray_cluster, collector), signal.SIGKILL)
    world.faults.requests.clear()
    world.faults.clear()

    def finished() -> Backfill | None:
        ray_cluster.get(collector.ensure_running.remote([]))
        (backfill,) = _backfills(ray_cluster, collector)
        return backfill if backfill.state.is_final else None

    backfill = until(finished)
    assert (backfill.id, backfill.state, backfill.done) == (id_, BackfillState.DONE, 1.0)
    assert asyncio.run(held(settings, BTC.series)) == all_hours()
    (request,) = [r for r in world.faults.requests if "klines" in r]
    assert f"startTime={all_hours()[2000]}" in request  # what was stored is not fetched again


def test_a_backfill_that_waits_or_runs_is_cancelled_and_the_next_one_goes_on(
    ray_cluster, collector, platform
):
    settings, world = platform
    ray_cluster.get(collector.ensure_running.remote([]))
    world.faults.add(Fault("klines", delay_s=60))
    running, queued, wanted = (
        ray_cluster.get(collector.backfill.remote(wanted.series, SINCE, NOW, False))
        for wanted in (BTC, BTC, ETH)
    )
    until(lambda: any("klines" in request for request in world.faults.requests))
    cancelled = ray_cluster.get(collector.cancel_backfill.remote(queued))
    assert (cancelled.id, cancelled.state) == (queued, BackfillState.CANCELLED)
    world.faults.clear()
    assert ray_cluster.get(collector.cancel_backfill.remote(running)).state.is_final

    def states() -> dict[str, BackfillState]:
        return {b.id: b.state for b in _backfills(ray_cluster, collector)}

    until(lambda: states()[wanted].is_final)
    ends = {
        running: BackfillState.CANCELLED,
        queued: BackfillState.CANCELLED,
        wanted: BackfillState.DONE,
    }
    assert states() == ends
    assert asyncio.run(held(settings, BTC.series)) == []
    assert asyncio.run(held(settings, ETH.series)) == all_hours()
    # What has ended stays as it ended, over a restart too.
    os.kill(pid_of(ray_cluster, collector), signal.SIGKILL)
    until(lambda: ray_cluster.get(collector.ensure_running.remote([])) == [])
    assert ray_cluster.get(collector.cancel_backfill.remote(wanted)).state is BackfillState.DONE
    assert states() == ends
    with pytest.raises(NotFound):
        ray_cluster.get(collector.cancel_backfill.remote("nope"))


def test_a_series_that_is_refused_fails_with_its_reason_and_the_others_go_on(
    ray_cluster, collector
):
    wrong = BTC.model_copy(update={"symbol": "BTC/USDTT"})

    def states() -> dict[str, PartHealth] | None:
        health = {h.part: h for h in ray_cluster.get(collector.ensure_running.remote([wrong, BTC]))}
        done = health[BTC.id].state is PartState.OK and health[wrong.id].state is PartState.FAILED
        return health if done else None

    health = until(states)
    assert "did you mean BTC/USDT" in health[wrong.id].detail
    assert health[BTC.id].newest_at == NOW.replace(minute=0)
    assert health[BTC.id].age_s < 2 * 3600
    # Taken off the list, it is no longer reported.
    left = ray_cluster.get(collector.ensure_running.remote([BTC]))
    assert [part.part for part in left] == [BTC.id]


def test_says_what_the_exchange_offers(ray_cluster, collector):
    ray_cluster.get(collector.ensure_running.remote([]))
    assert ray_cluster.get(collector.exchange_symbols.remote()) == ["BTC/USDT", "ETH/USDT"]
    assert Timeframe.H1 in ray_cluster.get(collector.exchange_timeframes.remote())


def _backfills(ray: Any, collector: Any) -> list[Backfill]:
    return list(ray.get(collector.backfills.remote()))
