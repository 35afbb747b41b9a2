"""The news collector on a real cluster: feeds go their own ways, and kill -9 loses nothing."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from email.utils import format_datetime
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from finsight import wiring
from finsight.actors.news_collector import NewsCollector
from finsight.domain.collector import NewsFeed
from finsight.domain.health import PartState
from finsight.ports.news import ArticleQuery
from finsight.settings import Settings
from tests.builders import NOON
from tests.ray.ended_actors import end
from tests.web_server import Reply, a_web_server


@pytest.fixture
def web():
    with a_web_server() as server:
        yield server


@pytest.fixture
def settings(tmp_path, valkey_url) -> Settings:
    return Settings(data_dir=tmp_path / "data", redis_url=valkey_url, allow_private_feeds=True)


@pytest.fixture
def actor(ray_cluster: Any, settings: Settings) -> Iterator[Any]:
    remote = ray_cluster.remote(NewsCollector)
    actor = remote.options(num_cpus=0, max_restarts=-1).remote(settings)
    yield actor
    ray_cluster.get(actor.stop.remote())
    end(ray_cluster, actor)


def a_feed(name: str, count: int) -> bytes:
    items = "".join(
        f"<item><link>https://news.example/{name}/{number}</link>"
        f"<title>Bitcoin {name} number{number}</title>"
        f"<pubDate>{format_datetime(NOON)}</pubDate></item>"
        for number in range(count)
    )
    return f"<rss version='2.0'><channel>{items}</channel></rss>".encode()


async def health_of(actor: Any, feeds: list[NewsFeed]) -> dict[str, Any]:
    """By part; empty while Ray builds the actor anew."""
    try:
        return {part.part: part for part in await actor.ensure_running.remote(feeds)}
    except ActorUnavailableError:
        return {}


async def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"never: {condition}"
        await asyncio.sleep(0.05)


async def all_articles(settings: Settings) -> list[Any]:
    store = wiring.open_article_store(settings)
    return [item.article for item in (await store.search(ArticleQuery(limit=1000))).items]


async def announced(settings: Settings) -> list[str]:
    bus = wiring.open_event_bus(settings)
    try:
        deliveries = await bus.receive("test", "one", ["ArticleCollected"], 1000, 0.2)
        await bus.acknowledge("test", [delivery.id for delivery in deliveries])
        return [delivery.event.article_id for delivery in deliveries]
    finally:
        await bus.close()


async def test_a_collector_killed_in_the_middle_loses_nothing_and_doubles_nothing(
    actor: Any, web: Any, settings: Settings
) -> None:
    feeds = [NewsFeed(name=name, url=web.url(f"/{name}"), poll_s=1) for name in ("one", "two")]
    grown = {feed.name: 0 for feed in feeds}

    def growing(name: str) -> Any:
        def reply(asked: Any) -> Reply:
            grown[name] = min(grown[name] + 20, 100)
            tag = f'"{grown[name]}"'
            if asked.headers.get("if-none-match") == tag:
                return Reply(304)
            return Reply(body=a_feed(name, grown[name]), headers={"etag": tag})

        return reply

    for feed in feeds:
        web.replies[f"/{feed.name}"] = growing(feed.name)

    async def some_are_stored() -> bool:
        await health_of(actor, feeds)
        return len(await all_articles(settings)) >= 40

    async def all_are_told() -> bool:
        await health_of(actor, feeds)
        store = wiring.open_article_store(settings)
        return len(await all_articles(settings)) == 200 and not await store.unannounced(1)

    await until(some_are_stored)
    pid = await actor.__ray_call__.remote(lambda _: os.getpid())
    os.kill(pid, signal.SIGKILL)
    await until(all_are_told)
    assert await actor.__ray_call__.remote(lambda _: os.getpid()) != pid

    articles = await all_articles(settings)
    assert len({article.canonical_url for article in articles}) == len(articles) == 200
    assert {article.symbols for article in articles} == {("BTC",)}
    told = await announced(settings)
    assert set(told) == {article.id for article in articles}
    # At least once: only what was published and not yet marked at the kill may be told again.
    assert len(told) <= 200 + 40
    # After the crash, the feeds are asked with the validators saved before it.
    assert all(feed_asked.headers.get("if-none-match") for feed_asked in web.asked[-4:])


async def test_feeds_go_their_own_ways(actor: Any, web: Any, settings: Settings) -> None:
    good = NewsFeed(name="good", url=web.url("/good"), poll_s=1)
    gone = NewsFeed(name="gone", url=web.url("/gone"), poll_s=1)
    down = NewsFeed(name="down", url=web.url("/down"), poll_s=1)
    keyless = NewsFeed(name="keyless", kind="tavily", query="bitcoin")
    web.replies["/good"] = Reply(body=a_feed("good", 3))
    web.replies["/down"] = Reply(500)
    feeds = [good, gone, down, keyless]

    async def each_has_its_state() -> bool:
        health = await health_of(actor, feeds)
        return [part.state for part in health.values()] == [
            PartState.OK,
            PartState.FAILED,
            PartState.LATE,
            PartState.FAILED,
        ]

    async def the_good_one_is_read_again() -> bool:
        return sum(asked.path == "/good" for asked in web.asked) >= 4

    await until(each_has_its_state)
    await until(the_good_one_is_read_again)
    health = await health_of(actor, feeds)
    assert "404" in health["news:gone"].detail
    assert "TAVILY_API_KEY" in health["news:keyless"].detail
    assert sum(asked.path == "/gone" for asked in web.asked) == 1

    # Another address for the one that is gone, and one feed fewer: taken over at once.
    mended = gone.model_copy(update={"url": web.url("/good")})

    async def the_mended_one_is_ok() -> bool:
        health = await health_of(actor, [mended])
        return [part.state for part in health.values()] == [PartState.OK]

    await until(the_mended_one_is_ok)
    asked_before = sum(asked.path == "/down" for asked in web.asked)
    await asyncio.sleep(2.5)
    assert sum(asked.path == "/down" for asked in web.asked) == asked_before
    assert {article.also_in for article in await all_articles(settings)} == {("gone",)}


async def test_it_says_what_it_waits_for_while_there_is_no_event_server(
    ray_cluster: Any, tmp_path: Any
) -> None:
    remote = ray_cluster.remote(NewsCollector)
    actor = remote.options(num_cpus=0).remote(Settings(data_dir=tmp_path))
    feed = NewsFeed(name="coindesk")

    async def it_says_so() -> bool:
        [part] = (await health_of(actor, [feed])).values()
        return part.state is PartState.STARTING and "event server isn't running" in part.detail

    await until(it_says_so)
    await actor.stop.remote()
    end(ray_cluster, actor)
