"""Tavily search, against a server that answers in its shape."""

import json
import logging
from datetime import UTC, datetime

import pytest

from finsight.adapters.news.tavily_source import TavilySource
from finsight.domain.errors import FinSightError, Misconfigured, SourceRefused
from finsight.ports.news import Validators
from tests.web_server import Reply, a_web_server

NOW = datetime(2025, 12, 13, 12, tzinfo=UTC)
KEY = "tvly-a-secret-key"


class StoppedClock:
    def now(self):
        return NOW


@pytest.fixture
def web():
    with a_web_server() as server:
        yield server


@pytest.fixture
async def source(web):
    opened = TavilySource("search", "bitcoin etf", KEY, web.url("/search"), StoppedClock())
    yield opened
    await opened.close()


async def test_the_search_is_asked_for_news_with_the_key_in_its_header(web, source):
    web.replies["/search"] = Reply(body=b'{"results": []}')
    answer = await source.fetch(Validators("x", "y"))
    assert (answer.articles, answer.unchanged) == ((), False)
    [asked] = web.asked
    assert asked.method == "POST"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["content-type"] == "application/json"
    question = json.loads(asked.body)
    assert (question["query"], question["topic"]) == ("bitcoin etf", "news")
    assert KEY not in asked.body.decode()


@pytest.mark.parametrize(
    "date", ["Fri, 12 Dec 2025 10:00:00 GMT", "2025-12-12T10:00:00Z", "2025-12-12T10:00:00"]
)
async def test_dates_are_read_in_either_form(web, source, date):
    result = {"url": "https://a.example/1", "title": "T", "content": "C", "published_date": date}
    web.replies["/search"] = Reply(body=json.dumps({"results": [result]}).encode())
    [article] = (await source.fetch(Validators())).articles
    assert article.published_at == datetime(2025, 12, 12, 10, tzinfo=UTC)


async def test_results_that_are_no_articles_are_passed_over_with_a_warning(web, source):
    results = [None, 3, {}, {"url": 5, "title": None}, {"url": "https://a.example/1", "title": "T"}]
    web.replies["/search"] = Reply(body=json.dumps({"results": results}).encode())
    answer = await source.fetch(Validators())
    assert [article.title for article in answer.articles] == ["T"]
    assert len(answer.warnings) >= 4


async def test_the_key_is_not_followed_to_another_address_or_told_to_anyone(web, source, caplog):
    caplog.set_level(logging.DEBUG)
    web.replies["/search"] = Reply(307, headers={"location": web.url("/elsewhere")})
    with pytest.raises(SourceRefused) as raised:
        await source.fetch(Validators())
    assert [asked.path for asked in web.asked] == ["/search"]
    web.replies["/search"] = Reply(401, KEY.encode())
    with pytest.raises(FinSightError) as refused:
        await source.fetch(Validators())
    for said in (str(raised.value), str(refused.value), repr(source), caplog.text):
        assert KEY not in said


def test_a_search_for_nothing_is_misconfigured():
    with pytest.raises(Misconfigured, match="query"):
        TavilySource("search", " ", KEY, "https://a.example", StoppedClock())
