"""What every NewsSource must do. A new adapter joins by one line in SOURCES."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from finsight.adapters.news.rss_source import RssSource
from finsight.adapters.news.tavily_source import TavilySource
from finsight.domain.article import article_id
from finsight.domain.errors import SourceBusy, SourceRefused, SourceUnavailable
from finsight.ports.news import Validators
from tests.web_server import Reply, a_web_server

NOW = datetime(2025, 12, 13, 12, tzinfo=UTC)


class StoppedClock:
    def now(self):
        return NOW


ENTRIES = [
    ("https://news.example/a?utm_source=x", "Bitcoin <b>falls</b> &amp; rises", "<p>One</p>two",
     "Fri, 12 Dec 2025 10:00:00 GMT"),
    ("https://news.example/late", "From the future", "", "Sat, 13 Dec 2025 12:30:00 GMT"),
    ("https://news.example/skew", "A little ahead", "", "Sat, 13 Dec 2025 12:04:00 GMT"),
    ("https://news.example/undated", "Undated", "", "yesterday"),
    ("javascript:alert(1)", "No address", "", "Fri, 12 Dec 2025 10:00:00 GMT"),
    ("https://news.example/empty", "", "", "Fri, 12 Dec 2025 10:00:00 GMT"),
    ("https://www.news.example/a#again", "Twice", "", "Fri, 12 Dec 2025 11:00:00 GMT"),
]  # fmt: skip


def as_rss(entries):
    items = "".join(
        f"<item><link><![CDATA[{url}]]></link><title><![CDATA[{title}]]></title>"
        f"<description><![CDATA[{text}]]></description><pubDate>{date}</pubDate></item>"
        for url, title, text, date in entries
    )
    return f"<rss version='2.0'><channel><title>T</title>{items}</channel></rss>".encode()


def as_tavily(entries):
    results = [
        {"url": url, "title": title, "content": text, "score": 0.9, "published_date": date}
        for url, title, text, date in entries
    ]
    return json.dumps({"query": "bitcoin", "results": results, "response_time": 1.2}).encode()


def open_rss(url):
    return RssSource.open("example", url, StoppedClock(), allow_private=True)


def open_tavily(url):
    return TavilySource("example", "bitcoin", "tvly-secret", url, StoppedClock())


SOURCES = {
    "rss": (open_rss, as_rss),
    "tavily": (open_tavily, as_tavily),
}


@pytest.fixture
def web():
    with a_web_server() as server:
        yield server


@pytest.fixture(params=SOURCES)
async def asked(request, web):
    """(the source, how its server says something)."""
    open_source, written = SOURCES[request.param]
    source = open_source(web.url("/news"))
    yield source, written
    await source.close()


async def test_articles_are_complete_but_for_what_the_store_knows(asked, web):
    source, written = asked
    web.replies["/news"] = Reply(body=written(ENTRIES))
    answer = await source.fetch(Validators())
    assert source.name == "example"
    assert not answer.unchanged
    first = answer.articles[0]
    assert first.url == "https://news.example/a?utm_source=x"
    assert first.canonical_url == "https://news.example/a"
    assert first.id == first.story_id == article_id("https://news.example/a")
    assert first.title == "Bitcoin falls & rises"
    assert first.summary == "One two"
    assert first.source == "example"
    assert first.published_at == datetime(2025, 12, 12, 10, tzinfo=UTC)
    assert first.first_seen_at == NOW


async def test_nothing_claims_a_time_that_nobody_can_vouch_for(asked, web):
    source, written = asked
    web.replies["/news"] = Reply(body=written(ENTRIES))
    answer = await source.fetch(Validators())
    published = {article.title: article.published_at for article in answer.articles}
    assert published["From the future"] == NOW
    assert published["Undated"] == NOW
    assert published["A little ahead"] == NOW + timedelta(minutes=4)
    assert len(answer.articles) == 4
    warnings = "\n".join(answer.warnings)
    for said in ("in the future", "no readable date", "no usable address", "neither title"):
        assert said in warnings


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, SourceRefused), (403, SourceRefused), (404, SourceRefused), (432, SourceRefused),
     (500, SourceUnavailable), (429, SourceBusy)],
)  # fmt: skip
async def test_errors_say_whether_to_try_again(asked, web, status, error):
    source, _ = asked
    web.replies["/news"] = Reply(status, b"{}", {"retry-after": "9"})
    with pytest.raises(error) as raised:
        await source.fetch(Validators())
    assert type(raised.value) is error
    assert "secret" not in str(raised.value)
    if error is SourceBusy:
        assert raised.value.retry_after_s == 9


async def test_an_answer_that_is_no_news_is_an_error_and_not_an_empty_list(asked, web):
    source, _ = asked
    for body in (b"<html><body><p>Log in</p></body></html>", b"{}", b"", b"[]", b"\xff\xfe\x00"):
        web.replies["/news"] = Reply(body=body)
        with pytest.raises((SourceRefused, SourceUnavailable)):
            await source.fetch(Validators())
