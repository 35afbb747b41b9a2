"""Reading a feed into a real store and a real event bus: nothing lost, nothing told twice."""

import asyncio
from datetime import UTC, datetime

import pytest

from finsight.adapters.events.redis_streams import RedisStreamsBus
from finsight.adapters.news.sqlite_articles import SqliteArticleStore
from finsight.adapters.state.redis_state import RedisStateStore
from finsight.domain.collector import NewsFeed
from finsight.domain.errors import (
    SourceBusy,
    SourceRefused,
    SourceUnavailable,
    StoreUnavailable,
)
from finsight.domain.health import PartState
from finsight.ports.news import NewsAnswer, Validators
from finsight.services.feed_following import ASK_REFUSED_AGAIN_S, FeedFollower
from finsight.services.news_collection import NewsCollection
from tests.builders import an_article

NOW = datetime(2025, 12, 13, 12, tzinfo=UTC)
FEED = NewsFeed(name="example", url="https://news.example/rss", poll_s=60)


class StoppedClock:
    def now(self):
        return NOW


class ScriptedSource:
    """Answers what it is told to, in turn; the last answer again and again."""

    name = "example"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked_with = []
        self.closed = False

    async def fetch(self, validators):
        self.asked_with.append(validators)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self):
        self.closed = True


class CutOff:
    """A port of which one method fails for a while, before or after it has done its work."""

    def __init__(self, port, method, *, after=False):
        self._port, self._method, self._after, self.down = port, method, after, True

    def __getattr__(self, name):
        real = getattr(self._port, name)
        if name != self._method:
            return real

        async def method(*args):
            done = await real(*args) if self._after or not self.down else None
            if self.down:
                raise StoreUnavailable("cut off")
            return done

        return method


@pytest.fixture
async def ports(tmp_path, valkey_url):
    store = SqliteArticleStore(tmp_path / "articles.sqlite")
    bus, state = RedisStreamsBus(valkey_url), RedisStateStore(valkey_url)
    yield store, bus, state
    await bus.close()
    await state.close()
    store.close()


async def announced(bus):
    deliveries = await bus.receive("test", "one", ["ArticleCollected"], 1000, 0.2)
    return [delivery.event.article_id for delivery in deliveries]


def an_answer(*numbers, etag='"v1"', **given):
    articles = [
        an_article(
            url=f"https://news.example/{n}",
            title=f"Ethereum number {n}",
            source="example",
            symbols=(),
        )
        for n in numbers
    ]
    return NewsAnswer(tuple(articles), validators=Validators(etag, None), **given)


async def test_a_reading_tags_stores_announces_and_remembers_the_validators(ports):
    store, bus, state = ports
    collection = NewsCollection(store, bus, state, StoppedClock())
    source = ScriptedSource(an_answer(1, 2, warnings=("odd",)), NewsAnswer(unchanged=True))
    reading = await collection.collect(FEED, source)
    assert (reading.read, reading.new, reading.announced) == (2, 2, 2)
    assert reading.warnings == ("odd",)
    stored = await store.unscored(10)
    assert [article.symbols for article in stored] == [("ETH",), ("ETH",)]
    assert await announced(bus) == [article.id for article in stored]
    again = await collection.collect(FEED, source)
    assert (again.unchanged, again.announced) == (True, 0)
    assert source.asked_with == [Validators(), Validators('"v1"', None)]
    assert await state.load("feeds/example") == {
        "url": FEED.url,
        "etag": '"v1"',
        "last_modified": None,
    }
    assert await announced(bus) == []


async def test_articles_read_again_are_not_announced_again(ports):
    store, bus, state = ports
    collection = NewsCollection(store, bus, state, StoppedClock())
    source = ScriptedSource(an_answer(1), an_answer(1, 2, etag='"v2"'))
    await collection.collect(FEED, source)
    reading = await collection.collect(FEED, source)
    assert (reading.read, reading.new, reading.announced) == (2, 1, 1)
    assert len(await announced(bus)) == 2


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("port", "method"),
    [("store", "add"), ("bus", "publish"), ("store", "mark_announced"), ("state", "save")],
)
async def test_whatever_breaks_between_two_steps_every_article_is_announced(
    ports, port, method, after
):
    by_name = dict(zip(("store", "bus", "state"), ports, strict=True))
    broken = by_name[port] = CutOff(by_name[port], method, after=after)
    source = ScriptedSource(an_answer(1, 2))
    first = NewsCollection(clock=StoppedClock(), **by_name)
    with pytest.raises(StoreUnavailable):
        await first.collect(FEED, source)
    broken.down = False
    # A new one, as after a crash: it knows only what is stored.
    second = NewsCollection(clock=StoppedClock(), **by_name)
    await second.collect(FEED, source)
    store, bus, _ = ports
    ids = {article.id for article in await store.unscored(10)}
    told = await announced(bus)
    assert set(told) == ids
    assert len(ids) == 2
    # Published and not marked is published again: at least once, and no other step repeats it.
    published_unmarked = (port, method, after) in {
        ("bus", "publish", True),
        ("store", "mark_announced", False),
    }
    assert len(told) == (4 if published_unmarked else 2)


async def test_a_feed_is_read_and_stored_while_the_event_bus_is_down(ports):
    store, bus, state = ports
    broken = CutOff(bus, "publish")
    collection = NewsCollection(store, broken, state, StoppedClock())
    await store.add([an_article(url="https://news.example/waits", title="It waits")])
    with pytest.raises(StoreUnavailable):
        await collection.collect(FEED, ScriptedSource(an_answer(1, 2)))
    assert len(await store.unannounced(10)) == 3
    broken.down = False
    await collection.collect(FEED, ScriptedSource(NewsAnswer(unchanged=True)))
    assert len(await announced(bus)) == 3


async def test_validators_are_never_saved_before_the_articles(ports):
    store, bus, state = ports
    broken = CutOff(store, "add")
    with pytest.raises(StoreUnavailable):
        await NewsCollection(broken, bus, state, StoppedClock()).collect(
            FEED, ScriptedSource(an_answer(1))
        )
    assert await state.load("feeds/example") is None


async def test_validators_of_another_address_or_of_lost_articles_are_not_used(ports, tmp_path):
    store, bus, state = ports
    source = ScriptedSource(an_answer(1))
    await NewsCollection(store, bus, state, StoppedClock()).collect(FEED, source)
    moved = FEED.model_copy(update={"url": "https://news.example/moved"})
    await NewsCollection(store, bus, state, StoppedClock()).collect(moved, source)
    empty = SqliteArticleStore(tmp_path / "other.sqlite")
    await NewsCollection(empty, bus, state, StoppedClock()).collect(moved, source)
    empty.close()
    assert source.asked_with == [Validators()] * 3


async def test_two_readings_at_once_announce_each_article_once(ports):
    store, bus, state = ports
    collection = NewsCollection(store, bus, state, StoppedClock())
    feeds = [FEED.model_copy(update={"name": f"feed{n}"}) for n in range(5)]
    sources = [ScriptedSource(an_answer(n, n + 1)) for n in range(5)]
    await asyncio.gather(*map(collection.collect, feeds, sources))
    told = await announced(bus)
    assert len(told) == len(set(told)) == 6


class Naps:
    """Sleeps no time; remembers how long it should have been, and ends after some naps."""

    def __init__(self, count):
        self.pauses, self._count = [], count

    async def __call__(self, seconds):
        self.pauses.append(seconds)
        if len(self.pauses) == self._count:
            raise asyncio.CancelledError
        await asyncio.sleep(0)


async def follow(ports, naps, *answers, feed=FEED):
    source = ScriptedSource(*answers)
    collection = NewsCollection(*ports, StoppedClock())
    follower = FeedFollower(feed, lambda _: source, collection, StoppedClock(), naps)
    assert follower.health().state is PartState.STARTING
    with pytest.raises(asyncio.CancelledError):
        await follower.run()
    assert source.closed
    return follower.health(), source


async def test_a_feed_is_read_on_its_schedule_never_late(ports):
    naps = Naps(4)
    health, source = await follow(ports, naps, an_answer(1), NewsAnswer(unchanged=True))
    assert len(source.asked_with) == 4
    assert all(50 < pause <= 60 for pause in naps.pauses)
    assert len(set(naps.pauses)) > 1
    assert (health.part, health.state, health.detail) == ("news:example", PartState.OK, "")
    assert (health.newest_at, health.age_s) == (NOW, 0)


async def test_warnings_are_told_until_the_feed_changes(ports):
    answers = [an_answer(1, warnings=("odd",)), NewsAnswer(unchanged=True)]
    health, _ = await follow(ports, Naps(3), *answers)
    assert (health.state, health.detail) == (PartState.OK, "1 warnings, the first: odd")


async def test_a_feed_that_does_not_answer_is_asked_less_and_less(ports):
    naps = Naps(8)
    health, _ = await follow(ports, naps, SourceUnavailable("down"))
    assert (health.state, health.detail) == (PartState.LATE, "down")
    assert naps.pauses[0] <= 60 < naps.pauses[2] < naps.pauses[4] <= 900
    assert all(675 <= pause <= 900 for pause in naps.pauses[5:])


async def test_a_feed_that_is_back_is_read_as_often_as_before(ports):
    naps = Naps(4)
    answers = [SourceUnavailable("down")] * 3 + [an_answer(1)]
    health, _ = await follow(ports, naps, *answers)
    assert health.state is PartState.OK
    assert naps.pauses[3] <= 60


async def test_a_refusal_is_for_a_person_and_not_hammered(ports):
    naps = Naps(3)
    health, _ = await follow(ports, naps, SourceRefused("answered HTTP 403"))
    assert (health.state, health.detail) == (PartState.FAILED, "answered HTTP 403")
    assert naps.pauses == [ASK_REFUSED_AGAIN_S] * 3


async def test_a_pause_that_is_asked_for_is_kept(ports):
    naps = Naps(1)
    health, _ = await follow(ports, naps, SourceBusy("slow down", 5000))
    assert health.state is PartState.LATE
    assert naps.pauses == [5000]


async def test_a_store_that_is_down_is_tried_again_soon_but_the_feed_not_often(ports):
    store, bus, state = ports
    naps = Naps(12)
    down = CutOff(bus, "publish")
    health, source = await follow((store, down, state), naps, an_answer(1))
    assert health.state is PartState.LATE
    assert naps.pauses[0] < 1
    assert naps.pauses[-1] > 40
    # What is stored is announced before the feed is asked again, so only the first reading asked.
    assert len(source.asked_with) == 1
