"""The news and sentiment routes, over a real SQLite file."""

from datetime import timedelta

import pytest

from finsight.domain.article import article_id
from tests.builders import HOUR, NOON, a_score, a_sentiment, an_article
from tests.unit.http_platform import running


@pytest.fixture
async def platform(settings):
    async with running(settings) as platform:
        yield platform


def numbered(number: int, **given):
    url = f"https://news.example/{number}"
    titles = ("Bitcoin climbs", "Ether stalls", "Regulators meet", "Miners sell")
    values = {
        "canonical_url": url,
        "url": url,
        "id": article_id(url),
        "story_id": article_id(url),
        "title": titles[number],
        "published_at": NOON + number * HOUR,
        "first_seen_at": NOON + number * HOUR + timedelta(minutes=1),
        "symbols": (),
    }
    return an_article(**(values | given))


@pytest.fixture
async def articles(platform):
    kept = [
        numbered(0, source="coindesk", symbols=("BTC",)),
        numbered(1, source="decrypt", symbols=("ETH",)),
        numbered(2, source="coindesk"),
    ]
    await platform.ports.articles.add(kept)
    await platform.ports.articles.save_scores([a_score(kept[0])])
    return kept


async def titles(platform, **asked) -> list[str]:
    answer = await platform.client.get("/v1/news/articles", params=asked)
    assert answer.status_code == 200, answer.text
    return [article["title"] for article in answer.json()["articles"]]


async def test_articles_come_newest_first_with_their_scores(platform, articles):
    answer = (await platform.client.get("/v1/news/articles")).json()
    assert [a["title"] for a in answer["articles"]] == [
        "Regulators meet",
        "Ether stalls",
        "Bitcoin climbs",
    ]
    assert answer["articles"][0]["sentiment"] is None
    sentiment = answer["articles"][2]["sentiment"]
    assert sentiment["label"] == "positive"
    assert sentiment["score"] == pytest.approx(0.6)


async def test_articles_are_found_by_each_condition(platform, articles):
    assert await titles(platform, text="bitcoin") == ["Bitcoin climbs"]
    assert await titles(platform, symbol="eth") == ["Ether stalls"]
    assert await titles(platform, source="coindesk") == ["Regulators meet", "Bitcoin climbs"]
    assert await titles(platform, after=(NOON + HOUR).isoformat(), source="decrypt") == [
        "Ether stalls"
    ]
    assert await titles(platform, before=(NOON + HOUR).isoformat()) == ["Bitcoin climbs"]


async def test_pages_hold_every_article_once(platform, articles):
    first = (await platform.client.get("/v1/news/articles", params={"limit": 2})).json()
    second = await platform.client.get(
        "/v1/news/articles", params={"limit": 2, "cursor": first["next_cursor"]}
    )
    seen = [a["title"] for a in first["articles"] + second.json()["articles"]]
    assert seen == ["Regulators meet", "Ether stalls", "Bitcoin climbs"]
    assert second.json()["next_cursor"] is None


@pytest.mark.parametrize(
    "wrong", [{"cursor": "not ours"}, {"limit": 0}, {"symbol": "B TC"}, {"after": "noon"}]
)
async def test_a_wrong_question_is_refused(platform, wrong):
    answer = await platform.client.get("/v1/news/articles", params=wrong)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("text", ['"', "a AND", "NEAR(", "title:", "*", "('"])
async def test_the_search_language_of_the_store_does_not_leak(platform, articles, text):
    answer = await platform.client.get("/v1/news/articles", params={"text": text})
    assert answer.status_code in (200, 422)


async def test_one_article_by_its_id(platform, articles):
    answer = await platform.client.get(f"/v1/news/articles/{articles[1].id}")
    assert answer.json()["title"] == "Ether stalls"
    unknown = await platform.client.get(f"/v1/news/articles/{'0' * 32}")
    assert unknown.status_code == 404


async def test_sources_are_counted(platform, articles):
    sources = (await platform.client.get("/v1/news/sources")).json()["sources"]
    assert {s["source"]: s["articles"] for s in sources} == {"coindesk": 2, "decrypt": 1}


async def test_texts_are_scored_in_their_order(platform):
    texts = ["Bitcoin surges", "Bitcoin slides", "Bitcoin"]
    answer = await platform.client.post("/v1/sentiment/score", json={"texts": texts})
    scores = answer.json()["scores"]
    assert [score["label"] for score in scores] == ["positive", "negative", "neutral"]
    assert scores[0]["score"] == pytest.approx(0.7)
    assert set(scores[0]) == {
        "negative",
        "neutral",
        "positive",
        "label",
        "score",
        "model",
        "model_version",
        "parts",
    }


async def test_an_explained_text_has_a_share_for_every_word(platform):
    texts = ["Bitcoin surges today", "Bitcoin"]
    answer = await platform.client.post(
        "/v1/sentiment/score", params={"explain": True}, json={"texts": texts}
    )
    first, second = answer.json()["scores"]
    assert [texts[0][word["start"] : word["end"]] for word in first["words"]] == [
        "Bitcoin",
        "surges",
        "today",
    ]
    shares = {word["word"]: word["contribution"] for word in first["words"]}
    assert shares == pytest.approx({"Bitcoin": 0, "surges": 0.7, "today": 0})
    assert first["base"] + sum(shares.values()) == pytest.approx(first["score"])
    assert [word["word"] for word in second["words"]] == ["Bitcoin"]
    body = {"texts": ["up " * 65]}
    refused = await platform.client.post("/v1/sentiment/score?explain=true", json=body)
    assert refused.status_code == 422
    assert "at most 64 are explained" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"texts": []}, "at least 1"),
        ({"texts": ["a"] * 257}, "256"),
        ({"texts": ["fine", "  "]}, "text 1 is empty"),
        ({"texts": ["a" * 100_001]}, "100,001 characters"),
        ({"texts": [7]}, "string"),
        ({"texts": "one text"}, "list"),
        ({}, "required"),
    ],
)
async def test_what_can_not_be_scored_is_refused_in_plain_words(platform, body, words):
    answer = await platform.client.post("/v1/sentiment/score", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    # The text itself isn't sent back: it may be 25 MB.
    assert len(answer.text) < 2000


async def test_the_trend_counts_articles_and_leaves_empty_hours_empty(platform, articles):
    other = numbered(3, symbols=("BTC",), published_at=NOON)
    await platform.ports.articles.add([other])
    await platform.ports.articles.save_scores(
        [a_score(other, sentiment=a_sentiment(negative=0.5, neutral=0.3, positive=0.2))]
    )
    asked = {
        "symbol": "btc",
        "start": NOON.isoformat(),
        "end": (NOON + 2 * HOUR).isoformat(),
        "bucket": "1h",
    }
    trend = (await platform.client.get("/v1/sentiment/trend", params=asked)).json()
    assert trend["articles"] == 2
    assert trend["score"] == pytest.approx((0.6 - 0.3) / 2)
    assert [point["score"] for point in trend["points"]] == [pytest.approx(0.15), None]


async def test_a_trend_without_articles_has_no_score(platform):
    trend = (await platform.client.get("/v1/sentiment/trend")).json()
    assert trend["score"] is None
    assert len(trend["points"]) == 24


async def test_a_trend_of_too_many_points_is_refused(platform):
    asked = {"start": "2010-01-01T00:00:00Z", "bucket": "1m"}
    answer = await platform.client.get("/v1/sentiment/trend", params=asked)
    assert answer.status_code == 422
    assert "longer bucket" in answer.json()["detail"]
