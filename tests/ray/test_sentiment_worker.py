"""The sentiment worker: a real actor, a real Valkey and a real Serve, killed in the middle."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from ray import serve
from ray.exceptions import RayActorError

from finsight import wiring
from finsight.actors.sentiment_worker import SentimentWorker
from finsight.deployments.sentiment import Sentiment
from finsight.domain.article import Article
from finsight.domain.events import ArticleCollected, SentimentScored
from finsight.domain.health import PartState
from finsight.settings import APP_NAME, Settings
from tests.builders import NOON, an_article
from tests.ray.ended_actors import end
from tests.ray.test_sentiment_deployment import load_model


@pytest.fixture(scope="module")
def served(serving: str) -> Iterator[None]:
    bound = Sentiment.options(ray_actor_options={"num_cpus": 0}, user_config={}).bind(load_model)
    serve.run(bound, name=APP_NAME, route_prefix=None)
    yield
    serve.delete(APP_NAME)


@pytest.fixture
def settings(settings: Settings, valkey_url: str) -> Settings:
    return settings.model_copy(update={"redis_url": SecretStr(valkey_url)})


@pytest.fixture
def worker(ray_cluster: Any, settings: Settings, served: None) -> Iterator[Any]:
    actor = ray_cluster.remote(SentimentWorker)
    worker = actor.options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote(settings, 0)
    yield worker
    end(ray_cluster, worker)


def articles(count: int) -> list[Article]:
    return [
        an_article(
            url=f"https://news.example/{number}",
            title=f"Coin number {number} goes {'up' if number % 2 else 'down'}",
            published_at=NOON + timedelta(minutes=number),
            first_seen_at=NOON + timedelta(minutes=number),
        )
        for number in range(count)
    ]


def announcement(article: Article) -> ArticleCollected:
    return ArticleCollected(
        happened_at=article.first_seen_at,
        article_id=article.id,
        title=article.title,
        source=article.source,
        symbols=article.symbols,
    )


async def until(true: Callable[[], Awaitable[bool]], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not await true():
        assert time.monotonic() < end, f"not in {seconds} s: {what}"
        await asyncio.sleep(0.05)


async def kept_running(worker: Any) -> Any:
    """Ask for health as the supervisor does: an actor that restarts is asked again."""
    end = time.monotonic() + 60
    while True:
        try:
            [health] = await worker.ensure_running.remote()
        except RayActorError:
            assert time.monotonic() < end, "the worker is not back in 60 s"
            await asyncio.sleep(0.1)
        else:
            return health


async def test_killed_in_the_middle_every_article_is_scored_once(
    worker: Any, settings: Settings
) -> None:
    store, bus = wiring.open_article_store(settings), wiring.open_event_bus(settings)
    stored = articles(150)
    await store.add(stored)
    await bus.publish([announcement(article) for article in stored])
    await kept_running(worker)

    async def scored() -> dict[str, Any]:
        found = [await store.get(article.id) for article in stored]
        return {one.article.id: one.score for one in found if one.score is not None}

    async def some_are_scored() -> bool:
        return len(await scored()) >= 20

    async def all_are_scored() -> bool:
        await kept_running(worker)
        return len(await scored()) == len(stored)

    await until(some_are_scored, "the first scores")
    before = await scored()
    os.kill(await worker.__ray_call__.remote(lambda _: os.getpid()), signal.SIGKILL)
    assert len(before) < len(stored), "the worker was killed too late to show anything"
    await until(all_are_scored, "scores after the kill")

    after = await scored()
    assert {article_id: after[article_id] for article_id in before} == before
    for article in stored:
        wanted = 1.0 if " up" in article.title else -1.0
        assert after[article.id].sentiment.score == wanted

    announced: list[str] = []

    async def all_are_announced() -> bool:
        deliveries = await bus.receive("test", "reader", ["SentimentScored"], 500, 0.1)
        for delivery in deliveries:
            assert isinstance(delivery.event, SentimentScored)
            announced.append(delivery.event.article_id)
        await bus.acknowledge("test", [delivery.id for delivery in deliveries])
        return set(announced) == {article.id for article in stored}

    await until(all_are_announced, "an event for each score")
    # Only a kill between publishing a batch and noting it publishes that batch again.
    assert len(announced) - len(stored) <= 32
    await bus.close()


async def test_an_article_whose_announcement_was_lost_is_scored(
    worker: Any, settings: Settings
) -> None:
    store = wiring.open_article_store(settings)
    [article] = await store.add(articles(1))
    await kept_running(worker)

    async def is_scored() -> bool:
        return (await store.get(article.id)).score is not None

    await until(is_scored, "the score of the article that was never announced")
    health = await kept_running(worker)
    assert (health.part, health.state) == ("sentiment-worker:0", PartState.OK)


async def test_an_announcement_that_can_not_be_handled_yet_stops_no_other_one(
    worker: Any, settings: Settings
) -> None:
    store, bus = wiring.open_article_store(settings), wiring.open_event_bus(settings)
    good, late = articles(2)
    await store.add([good])
    await bus.publish([announcement(late), announcement(good)])
    await kept_running(worker)

    async def scored(article: Article) -> bool:
        return (await store.get(article.id)).score is not None

    await until(lambda: scored(good), "the score of the article that is there")
    await store.add([late])
    await until(lambda: scored(late), "the score of the one that came late")
    assert await bus.count_dead_letters() == 0
    await bus.close()


async def test_without_a_bus_it_says_so_and_keeps_trying(
    ray_cluster: Any, settings: Settings, served: None
) -> None:
    nowhere = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    actor = ray_cluster.remote(SentimentWorker).options(num_cpus=0).remote(nowhere, 3)

    async def is_late() -> bool:
        health = await kept_running(actor)
        return health.state is PartState.LATE and bool(health.detail)

    await until(is_late, "a worker that says what is wrong")
    end(ray_cluster, actor)
