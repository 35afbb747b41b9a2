"""What every ArticleStore must do. A new adapter joins by one line in STORES."""

from datetime import timedelta

import pytest

from finsight.adapters.news.sqlite_articles import SqliteArticleStore
from finsight.domain.errors import InvalidInput, NotFound
from finsight.ports.news import ArticleQuery, KnownSentiment, SourceSummary
from tests.builders import HOUR, NOON, a_score, a_sentiment, an_article

STORES = {
    "sqlite": lambda folder: SqliteArticleStore(folder / "articles.sqlite"),
}
MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


def numbered(number, **given):
    return an_article(
        canonical_url=f"https://news.example/{number}",
        **{
            "title": f"Number{number}",
            "published_at": NOON + number * MINUTE,
            "first_seen_at": NOON + HOUR,
        }
        | given,
    )


async def titles(store, **conditions):
    page = await store.search(ArticleQuery(**conditions))
    return [item.article.title for item in page.items]


async def test_reads_back_what_was_stored(store):
    article = numbered(
        1,
        title="Bitcoin’s day — “up”",
        summary="Więcej 😀",
        symbols=("BTC", "ETH"),
        published_at=NOON + MICROSECOND,
    )
    assert await store.add([article]) == [article]
    assert (await store.get(article.id)).article == article
    assert (await store.get(article.id)).score is None


async def test_an_unknown_article_is_not_found(store):
    with pytest.raises(NotFound):
        await store.get("0" * 32)


async def test_an_article_is_kept_once_with_its_first_times_and_gains_sources(store):
    first = numbered(1, source="one")
    again = first.model_copy(
        update={"source": "two", "title": "Changed", "first_seen_at": NOON + 2 * HOUR}
    )
    await store.add([first])
    assert await store.add([again, first]) == []
    assert await store.add([again.model_copy(update={"source": "three"})]) == []
    kept = (await store.get(first.id)).article
    assert kept == first.model_copy(update={"also_in": ("two", "three")})
    assert await titles(store) == ["Number1"]


async def test_two_feeds_in_one_call_make_one_article(store):
    one = numbered(1, source="one")
    [stored] = await store.add([one, one.model_copy(update={"source": "two"})])
    assert stored.also_in == ("two",)
    assert stored.source == "one"


async def test_the_same_story_from_another_feed_is_linked(store):
    title = "Exchange lists three new memecoins after long review"
    one = numbered(1, title=title, source="one")
    two = numbered(2, title=f"{title}!", source="two")
    other = numbered(3, title="Regulator fines a bank in Zurich over gold", source="two")
    [stored_one] = await store.add([one])
    stored_two, stored_other = await store.add([two, other])
    assert stored_one.story_id == one.id
    assert stored_two.story_id == one.id
    assert stored_other.story_id == other.id
    assert (await store.get(two.id)).article.story_id == one.id


async def test_stories_far_apart_in_time_are_not_linked(store):
    title = "Exchange lists three new memecoins after long review"
    one = numbered(1, title=title, source="one")
    later = numbered(2, title=title, source="two", published_at=NOON + timedelta(days=30))
    await store.add([one])
    [stored] = await store.add([later])
    assert stored.story_id == later.id


async def test_the_unannounced_are_remembered_until_marked(store):
    first, second, third = (numbered(n) for n in (1, 2, 3))
    await store.add([third, second])
    await store.add([first])
    assert await store.unannounced(10) == [first, second, third]
    assert await store.unannounced(2) == [first, second]
    await store.mark_announced([first.id, third.id, "0" * 32])
    await store.add([first])
    assert await store.unannounced(10) == [second]


async def test_the_newest_are_listed_first_page_by_page(store):
    # Three of one moment: a cursor on time alone would lose or repeat some of them.
    articles = [numbered(n, published_at=NOON + (n // 3) * MINUTE) for n in range(8)]
    await store.add(articles)
    seen, cursor = [], None
    while True:
        page = await store.search(ArticleQuery(limit=3, cursor=cursor))
        seen += [item.article for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == 8
    assert {article.id for article in seen} == {article.id for article in articles}
    times = [article.published_at for article in seen]
    assert times == sorted(times, reverse=True)


async def test_articles_that_arrive_between_pages_do_not_shift_them(store):
    await store.add([numbered(n) for n in (1, 2, 3, 4)])
    page = await store.search(ArticleQuery(limit=2))
    await store.add([numbered(9)])
    assert await titles(store, cursor=page.next_cursor) == ["Number2", "Number1"]


@pytest.mark.parametrize("cursor", ["", "x", "é", "MTIz", "bm90OmE", "!!!!", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk6MQ"])  # fmt: skip  # noqa: E501
async def test_a_cursor_that_is_not_ours_is_refused(store, cursor):
    with pytest.raises(InvalidInput):
        await store.search(ArticleQuery(cursor=cursor))


@pytest.mark.parametrize("limit", [0, -1, 100_000])
async def test_limits_out_of_bounds_are_refused(store, limit):
    with pytest.raises(InvalidInput):
        await store.search(ArticleQuery(limit=limit))


async def test_articles_are_found_by_symbol_source_and_time(store):
    await store.add(
        [
            numbered(1, symbols=("BTC",), source="one"),
            numbered(2, symbols=("BTC", "ETH"), source="two"),
            numbered(3, symbols=(), source="two"),
        ]
    )
    await store.add([numbered(1, symbols=("BTC",), source="three")])
    assert await titles(store, symbol="BTC") == ["Number2", "Number1"]
    assert await titles(store, symbol="btc") == ["Number2", "Number1"]
    assert await titles(store, symbol="ETH", source="two") == ["Number2"]
    assert await titles(store, source="three") == ["Number1"]
    assert await titles(store, after=NOON + 2 * MINUTE) == ["Number3", "Number2"]
    assert await titles(store, before=NOON + 2 * MINUTE) == ["Number1"]
    assert await titles(store, symbol="SOL") == []


async def test_text_is_found_word_by_word_in_titles_and_summaries(store):
    await store.add(
        [
            numbered(1, title="Bitcoin falls", summary="Miners sell. The ETF waits"),
            numbered(2, title="Café opens for bitcoiners", summary="In Zürich"),
        ]
    )
    assert await titles(store, text="bitcoin") == ["Bitcoin falls"]
    assert await titles(store, text="BITCOIN miners") == ["Bitcoin falls"]
    assert await titles(store, text="bitcoin zurich") == []
    assert await titles(store, text="cafe") == ["Café opens for bitcoiners"]
    assert len(await titles(store, text="bitc*")) == 2
    assert await titles(store, text='"the etf"') == ["Bitcoin falls"]
    assert await titles(store, text='"etf the"') == []
    assert len(await titles(store, text="  ")) == 2


@pytest.mark.parametrize(
    "text",
    ['"', '"""', "bitcoin AND", "NOT bitcoin", "NEAR(a b)", "title:bitcoin", "bitcoin)", "(bitcoin",
     "-bitcoin", "bitcoin^2", "a*b", "*", "**", "'; DROP TABLE articles; --", "bit\0coin", "\ud800",
     "{title summary}: x", "+", "😀", 'half "open', "OR OR OR", "a" * 10_000],
)  # fmt: skip
async def test_no_text_breaks_the_search(store, text):
    await store.add([numbered(1, title="Bitcoin falls")])
    assert await titles(store, text=text) in ([], ["Bitcoin falls"])
    assert await titles(store, text="bitcoin") == ["Bitcoin falls"]


async def test_the_sources_are_summed_up(store):
    assert await store.sources() == []
    await store.add(
        [numbered(1, source="two"), numbered(2, source="one"), numbered(3, source="one")]
    )
    await store.add([numbered(1, source="one")])
    assert await store.sources() == [
        SourceSummary("one", 3, NOON + 3 * MINUTE),
        SourceSummary("two", 1, NOON + MINUTE),
    ]


async def test_an_article_keeps_its_first_score(store):
    article, other = numbered(1), numbered(2)
    await store.add([article, other])
    first = a_score(article, sentiment=a_sentiment(parts=3))
    second = a_score(article, sentiment=a_sentiment(negative=0.7, positive=0.1))
    assert await store.save_scores([first, second]) == [article.id]
    assert await store.save_scores([second, a_score(other)]) == [other.id]
    assert (await store.get(article.id)).score == first
    page = await store.search(ArticleQuery())
    assert [item.score for item in page.items] == [a_score(other), first]


async def test_scores_of_unknown_articles_are_passed_over(store):
    assert await store.save_scores([a_score(numbered(1))]) == []


async def test_the_unscored_are_listed_oldest_first(store):
    articles = [numbered(n) for n in (1, 2, 3)]
    await store.add(articles[::-1])
    await store.save_scores([a_score(articles[1])])
    assert await store.unscored(10) == [articles[0], articles[2]]
    assert await store.unscored(1) == [articles[0]]


async def test_scores_are_unannounced_until_marked_first_scored_first(store):
    articles = [numbered(n) for n in (1, 2, 3)]
    await store.add(articles)
    scores = [
        a_score(article, scored_at=NOON + (9 - n) * HOUR) for n, article in enumerate(articles)
    ]
    await store.save_scores(scores)
    left = await store.unannounced_scores(10)
    assert [one.article for one in left] == articles[::-1]
    assert [one.score for one in left] == scores[::-1]
    assert await store.unannounced_scores(2) == left[:2]
    await store.mark_scores_announced([articles[1].id, "0" * 32])
    await store.save_scores([a_score(articles[1])])
    assert await store.unannounced_scores(10) == [left[0], left[2]]


async def test_an_article_and_its_score_are_announced_apart(store):
    article = numbered(1)
    await store.add([article])
    await store.mark_announced([article.id])
    await store.save_scores([a_score(article)])
    assert len(await store.unannounced_scores(10)) == 1
    await store.mark_scores_announced([article.id])
    assert await store.unannounced_scores(10) == []


def scored(number, positive, **given):
    article = numbered(number, **given)
    sentiment = a_sentiment(negative=1 - positive, neutral=0.0, positive=positive)
    return article, a_score(article, sentiment=sentiment)


async def test_the_trend_counts_each_article_once_and_invents_nothing(store):
    pairs = [
        scored(0, 1.0),
        scored(59, 0.5),
        scored(60, 0.0),
        scored(180, 1.0),
        scored(61, 1.0, symbols=("ETH",)),
        scored(-1, 1.0),
    ]
    await store.add([article for article, _ in pairs] + [numbered(5)])
    await store.save_scores([score for _, score in pairs])
    trend = await store.trend("BTC", NOON, NOON + 2.5 * HOUR, HOUR)
    assert [(point.articles, point.score) for point in trend] == [(2, 0.5), (1, -1.0), (0, None)]
    assert [point.start for point in trend] == [NOON, NOON + HOUR, NOON + 2 * HOUR]
    assert trend[-1].end == NOON + 2.5 * HOUR
    of_all = await store.trend(None, NOON, NOON + 2 * HOUR, HOUR)
    assert [(point.articles, point.score) for point in of_all] == [(2, 0.5), (2, 0.0)]


@pytest.mark.parametrize(
    ("hours", "bucket"),
    [(0, HOUR), (-1, HOUR), (1, timedelta(0)), (1, -HOUR), (10_000, timedelta(seconds=1))],
)
async def test_a_trend_of_nothing_or_of_too_much_is_refused(store, hours, bucket):
    with pytest.raises(InvalidInput):
        await store.trend(None, NOON, NOON + hours * HOUR, bucket)


async def test_sentiment_is_known_from_the_latest_of_its_moments(store):
    late_score, early, late_seen = numbered(1), numbered(2), numbered(3)
    late_seen = late_seen.model_copy(update={"first_seen_at": NOON + 3 * HOUR})
    await store.add([late_score, early, late_seen])
    scores = [
        a_score(late_score, scored_at=NOON + 2 * HOUR),
        a_score(early, scored_at=NOON + HOUR + MICROSECOND),
        a_score(late_seen, scored_at=NOON + HOUR),
    ]
    await store.save_scores(scores)
    known = await store.known_sentiment("BTC", NOON + 2 * HOUR)
    assert known == [
        KnownSentiment(NOON + HOUR + MICROSECOND, early.published_at, pytest.approx(0.6)),
        KnownSentiment(NOON + 2 * HOUR, late_score.published_at, pytest.approx(0.6)),
    ]
    assert len(await store.known_sentiment("BTC", NOON + 3 * HOUR)) == 3
    assert (
        await store.known_sentiment("BTC", NOON + 2 * HOUR, NOON + HOUR + MICROSECOND) == known[1:]
    )
    assert await store.known_sentiment("BTC", NOON + HOUR) == []
    assert await store.known_sentiment("ETH", NOON + 3 * HOUR) == []
