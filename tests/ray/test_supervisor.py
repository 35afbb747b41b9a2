"""The supervisor with real actors, on real processes that are killed."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from finsight.actors.kept_actor import names_there
from finsight.actors.supervisor import Supervisor
from finsight.domain.collector import CollectedSeries, Collector, NewsFeed
from finsight.domain.errors import InvalidInput
from finsight.domain.health import PartHealth, PartState
from finsight.domain.timeframe import Timeframe
from finsight.settings import NAMESPACE, ExchangeSettings, Settings

NOWHERE = "http://127.0.0.1:1"
BTC = CollectedSeries(exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.H1)
FEED = NewsFeed(name="nowhere", url=f"{NOWHERE}/feed")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """One series and one feed whose sources never answer: the parts must run all the same."""
    return Settings(
        data_dir=tmp_path / "data",
        series=(BTC,),
        feeds=(FEED,),
        exchanges={"binance": ExchangeSettings(base_url=NOWHERE, timeout_s=1)},
        allow_private_feeds=True,
    )


@pytest.fixture
def supervisor(ray_cluster: Any, settings: Settings) -> Iterator[Any]:
    actor = ray_cluster.remote(Supervisor)
    supervisor = actor.options(
        name="supervisor", namespace=NAMESPACE, num_cpus=0, max_restarts=-1, max_task_retries=-1
    ).remote(settings)
    yield supervisor
    ray_cluster.get(supervisor.stop.remote(), timeout=60)
    ray_cluster.kill(supervisor)
    # One that a killed supervisor was still making may come after `stop`: the next test
    # must not meet it. `deployments/platform.py` does the same for a real application.
    assert until(lambda: _nothing_left(ray_cluster))


def _nothing_left(ray_cluster: Any) -> bool:
    left = names_there()
    for name in left:
        try:
            ray_cluster.kill(ray_cluster.get_actor(name, namespace=NAMESPACE))
        except ValueError:
            continue
    return not left


def until(holds: Any, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def health(supervisor: Any) -> dict[str, PartHealth]:
    ray.get(supervisor.ensure_running.remote(), timeout=60)
    return {part.part: part for part in ray.get(supervisor.health.remote(), timeout=60)}


def process_of(name: str) -> int:
    actor = ray.get_actor(name, namespace=NAMESPACE)
    return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=60))


def answers(name: str) -> bool:
    try:
        process_of(name)
    except (ValueError, ray.exceptions.RayError):
        return False
    return True


def test_everything_is_started_killed_and_there_again(supervisor: Any, settings: Settings) -> None:
    wanted = {"embedded-valkey", "candles:binance", "news", "sentiment-worker:0"}
    wanted |= {"forecast-worker", "retraining-watch"}
    health(supervisor)
    assert until(lambda: set(names_there()) == wanted), names_there()
    assert until(lambda: all(map(answers, wanted)))
    assert until(lambda: health(supervisor)["embedded-valkey"].state is PartState.OK)
    assert until(
        lambda: (
            {BTC.id, FEED.id, "sentiment-worker:0", "forecast-worker"} <= set(health(supervisor))
        )
    ), health(supervisor)

    before = {name: process_of(name) for name in wanted}
    own = ray.get(supervisor.__ray_call__.remote(lambda _: os.getpid()))
    for pid in (*before.values(), own):
        os.kill(pid, signal.SIGKILL)
    health(supervisor)
    assert until(lambda: health(supervisor)["embedded-valkey"].state is PartState.OK)
    assert until(lambda: all(map(answers, wanted)))
    after = {name: process_of(name) for name in wanted}
    assert not set(before.values()) & set(after.values())


def test_collectors_are_stopped_started_removed_and_refused(supervisor: Any) -> None:
    health(supervisor)
    assert until(lambda: {"candles:binance", "news"} <= set(names_there()))

    def collectors() -> list[Collector]:
        found: list[Collector] = ray.get(supervisor.collectors.remote(), timeout=60)
        return found

    assert collectors() == [Collector(candles=BTC), Collector(news=FEED)]
    ray.get(supervisor.set_collector.remote(Collector(candles=BTC, running=False)), timeout=60)
    assert until(lambda: "candles:binance" not in names_there())
    assert health(supervisor)[BTC.id].state is PartState.STOPPED
    ray.get(supervisor.remove_collector.remote(FEED.id), timeout=60)
    assert until(lambda: "news" not in names_there())
    assert FEED.id not in health(supervisor)
    assert collectors() == [Collector(candles=BTC, running=False)]

    ray.get(supervisor.set_collector.remote(Collector(candles=BTC)), timeout=60)
    assert until(lambda: "candles:binance" in names_there())
    unknown = BTC.model_copy(update={"exchange": "nosuchvenue"})
    with pytest.raises(InvalidInput, match="nosuchvenue"):
        ray.get(supervisor.set_collector.remote(Collector(candles=unknown)), timeout=60)
    unoffered = BTC.model_copy(update={"timeframe": Timeframe.M10})
    with pytest.raises(InvalidInput, match="it offers"):
        ray.get(supervisor.set_collector.remote(Collector(candles=unoffered)), timeout=60)
    assert collectors() == [Collector(candles=BTC)]


def test_a_supervisor_built_anew_ends_what_is_not_wanted_any_more(
    supervisor: Any, settings: Settings
) -> None:
    health(supervisor)
    assert until(lambda: "news" in names_there())

    from finsight import wiring

    async def remove_behind_its_back() -> None:
        state = wiring.open_state_store(settings)
        await state.save(f"collectors/{FEED.id}", {"removed": True})
        await state.close()

    own = ray.get(supervisor.__ray_call__.remote(lambda _: os.getpid()))
    asyncio.run(remove_behind_its_back())
    os.kill(own, signal.SIGKILL)
    health(supervisor)
    assert until(lambda: "news" not in names_there())
