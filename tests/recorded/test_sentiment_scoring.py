"""Scores are told to the others, whatever breaks between storing, publishing and marking."""

from datetime import timedelta

import pytest

from finsight.adapters.events.redis_streams import RedisStreamsBus
from finsight.adapters.news.sqlite_articles import SqliteArticleStore
from finsight.domain.errors import StoreUnavailable
from finsight.services.sentiment_scoring import SentimentScoring
from tests.builders import NOON, a_sentiment, an_article
from tests.fixed_clock import FixedClock

ARTICLES = [
    an_article(
        url=f"https://news.example/{number}",
        title=f"Coin number {number} rises",
        published_at=NOON + timedelta(minutes=number),
    )
    for number in range(40)
]
IDS = [article.id for article in ARTICLES]


class Agreeable:
    async def score(self, texts):
        return [a_sentiment() for _ in texts]


class BreaksAt:
    """A store or a bus whose `method` breaks at its call number `call`, before or after it."""

    def __init__(self, real, method, call, after):
        self._real, self._method, self._left, self._after = real, method, call, after

    def __getattr__(self, name):
        real = getattr(self._real, name)
        if name != self._method:
            return real

        async def breaking(*given):
            self._left -= 1
            if self._left:
                return await real(*given)
            if self._after:
                await real(*given)
            raise StoreUnavailable("it broke off")

        return breaking


@pytest.fixture
async def store(tmp_path):
    opened = SqliteArticleStore(tmp_path / "articles.sqlite")
    await opened.add(ARTICLES)
    yield opened
    opened.close()


@pytest.fixture
async def bus(valkey_url):
    opened = RedisStreamsBus(valkey_url)
    yield opened
    await opened.close()


async def told(bus):
    deliveries = await bus.receive("test", "one", ["SentimentScored"], 1000, 0.05)
    return [delivery.event.article_id for delivery in deliveries]


def scoring(store, bus):
    return SentimentScoring(store, Agreeable(), bus, FixedClock(NOON))


async def test_each_score_is_told_once(store, bus):
    assert (await scoring(store, bus).score(IDS[:35])).scored == IDS[:35]
    assert (await scoring(store, bus).score(IDS)).scored == IDS[35:]
    assert await scoring(store, bus).announce_pending() == 0
    assert await told(bus) == IDS


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("method", ["save_scores", "publish", "mark_scores_announced"])
async def test_whatever_breaks_every_score_is_told(store, bus, method, call, after):
    breaking_store = BreaksAt(store, method, call, after)
    breaking_bus = BreaksAt(bus, method, call, after)
    with pytest.raises(StoreUnavailable):
        await scoring(breaking_store, breaking_bus).score(IDS)

    # The next worker: what is pending first, then what is delivered again.
    later = scoring(store, bus)
    await later.announce_pending()
    await later.score(IDS)
    all_told = await told(bus)
    assert set(all_told) == set(IDS)
    assert await store.unannounced_scores(1) == []
    published_and_not_marked = (method, after) in {
        ("publish", True),
        ("mark_scores_announced", False),
    }
    assert (len(all_told) > len(IDS)) == published_and_not_marked
