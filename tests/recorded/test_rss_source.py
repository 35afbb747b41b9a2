"""Real feeds, ill-formed ones and wrongly encoded ones, over HTTP."""

import io
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from finsight.adapters.news.found_article import plain_text, shortened
from finsight.adapters.news.rss_source import READY_ADDRESSES, RssSource
from finsight.domain.errors import Misconfigured, SourceRefused
from finsight.ports.news import Validators
from finsight.services.symbol_tags import tagged
from tests.web_server import Reply, a_web_server

NOW = datetime(2025, 12, 13, 12, tzinfo=UTC)
RSS = Path(__file__).parents[3] / "shared" / "data" / "rss"
DOCUMENTS = sorted((RSS / "feedparser-tests").rglob("*.xml"))
REAL = {"coindesk.rss": 25, "cointelegraph-all.rss": 30, "decrypt.rss": 58}


class StoppedClock:
    def now(self):
        return NOW


@pytest.fixture
def web():
    with a_web_server() as server:
        yield server


@pytest.fixture
async def source(web):
    opened = RssSource.open("example", web.url("/feed"), StoppedClock(), allow_private=True)
    yield opened
    await opened.close()


def answering(document, content_type="application/xml", **headers):
    return Reply(body=document, headers={"content-type": content_type, **headers})


@pytest.mark.parametrize(("file", "count"), REAL.items())
async def test_real_feeds_are_read_whole(shared_data, web, source, file, count):
    web.replies["/feed"] = answering((shared_data / "rss" / "real" / file).read_bytes())
    answer = await source.fetch(Validators())
    assert len(answer.articles) == count
    assert answer.warnings == ()
    tagged_share = 0
    for article in answer.articles:
        assert article.title
        assert article.title == " ".join(article.title.split())
        assert not any(mark in article.title + article.summary for mark in ("<p", "<img", "&amp;"))
        assert "utm_" not in article.canonical_url
        assert article.published_at <= NOW
        tagged_share += bool(tagged(article).symbols) / count
    assert tagged_share > 0.35


@pytest.mark.skipif(not DOCUMENTS, reason="LOUD SKIP: no real feeds; this check did not run")
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
async def test_every_odd_document_is_read_or_refused(web, source, path):
    """feedparser's own collection: what can be read is read, with a warning; nothing crashes."""
    web.replies["/feed"] = answering(path.read_bytes())
    if path.name == "rss_empty_document.xml":
        with pytest.raises(SourceRefused, match="not RSS or Atom"):
            await source.fetch(Validators())
        return
    answer = await source.fetch(Validators())
    for article in answer.articles:
        assert article.title
        article.title.encode()
    says_it_is_ill_formed = b"not bozo" not in path.read_bytes()[:600] and (
        "bozo" in path.name or "illformed" in path.name
    )
    if says_it_is_ill_formed and path.name not in NOT_ILL_FORMED_AS_XML:
        assert answer.warnings


# Ill-formed only by what their own HTTP headers say, which this server doesn't repeat.
NOT_ILL_FORMED_AS_XML = {
    "bozo_http_i18n.xml",
    "bozo_http_text_plain.xml",
    "bozo_http_text_plain_charset.xml",
}


def a_feed(title="Title", encoding="utf-8", declared="utf-8"):
    return (
        f"<?xml version='1.0' encoding='{declared}'?><rss version='2.0'><channel><item>"
        f"<title>{title}</title><link>https://news.example/1</link>"
        "<pubDate>Fri, 12 Dec 2025 10:00:00 GMT</pubDate></item></channel></rss>"
    ).encode(encoding)


@pytest.mark.parametrize(
    ("encoding", "declared", "content_type"),
    [
        ("utf-8", "utf-8", "application/rss+xml"),
        ("utf-8", "utf-8", "text/html"),
        ("utf-8", "utf-8", "text/plain; charset=utf-8"),
        ("iso-8859-1", "iso-8859-1", "text/xml"),
        ("windows-1252", "windows-1252", "application/xml"),
        ("utf-16", "utf-16", "application/xml"),
        ("iso-8859-1", "utf-8", "application/xml; charset=iso-8859-1"),
    ],
)
async def test_the_encoding_is_found_whatever_the_server_calls_it(
    web, source, encoding, declared, content_type
):
    web.replies["/feed"] = answering(a_feed("Zürich café", encoding, declared), content_type)
    [article] = (await source.fetch(Validators())).articles
    assert article.title == "Zürich café"


async def test_a_wrongly_declared_encoding_is_mended_with_a_warning(web, source):
    web.replies["/feed"] = answering(a_feed("Zürich", "windows-1252", "utf-8"))
    answer = await source.fetch(Validators())
    assert answer.articles[0].title == "Zürich"
    assert "declared as utf-8" in answer.warnings[0]


async def test_a_feed_cut_in_the_middle_gives_its_first_entries(web, source):
    items = a_feed().replace(b"</channel></rss>", b"<item><title>Cut of")
    web.replies["/feed"] = answering(items)
    answer = await source.fetch(Validators())
    assert "Title" in [article.title for article in answer.articles]
    assert "ill-formed" in answer.warnings[0]


async def test_an_unchanged_feed_is_not_read_again(web, source):
    def conditional(asked):
        if asked.headers.get("if-none-match") == '"v1"':
            return Reply(304)
        return answering(
            a_feed(), etag='"v1"', **{"last-modified": "Fri, 12 Dec 2025 10:00:00 GMT"}
        )

    web.replies["/feed"] = conditional
    first = await source.fetch(Validators())
    assert first.validators == Validators('"v1"', "Fri, 12 Dec 2025 10:00:00 GMT")
    again = await source.fetch(first.validators)
    assert (again.unchanged, again.articles) == (True, ())
    assert again.validators == first.validators
    assert web.asked[1].headers["if-modified-since"] == "Fri, 12 Dec 2025 10:00:00 GMT"


async def test_validators_that_cannot_be_sent_are_left_out(web, source):
    web.replies["/feed"] = answering(a_feed())
    answer = await source.fetch(Validators('"é\r\nx: y"', "\u2028"))
    assert len(answer.articles) == 1
    assert "if-none-match" not in web.asked[0].headers


async def test_entities_that_multiply_are_not_expanded(web, source):
    bomb = io.StringIO()
    bomb.write("<?xml version='1.0'?><!DOCTYPE r [<!ENTITY a0 'ha'>")
    for level in range(1, 30):
        bomb.write(f"<!ENTITY a{level} '&a{level - 1};&a{level - 1};'>")
    bomb.write("]><rss version='2.0'><channel><item><title>x &a29;</title>")
    bomb.write("<link>https://news.example/1</link></item></channel></rss>")
    web.replies["/feed"] = answering(bomb.getvalue().encode())
    began = time.monotonic()
    answer = await source.fetch(Validators())
    # Two to the 29th copies would neither fit in memory nor be made in this time.
    assert time.monotonic() - began < 30
    assert all(len(article.title) < 400 for article in answer.articles)


async def test_files_of_this_machine_are_not_read_into_a_feed(web, source, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    document = a_feed("x &file;").replace(
        b"<rss", f"<!DOCTYPE r [<!ENTITY file SYSTEM '{secret.as_uri()}'>]><rss".encode()
    )
    web.replies["/feed"] = answering(document)
    answer = await source.fetch(Validators())
    assert "the secret" not in str(answer)


async def test_a_page_is_refused_as_no_feed(web, source):
    web.replies["/feed"] = answering(b"<!doctype html><html><title>Hi</title></html>", "text/html")
    with pytest.raises(SourceRefused, match="text/html, which is not RSS or Atom"):
        await source.fetch(Validators())


async def test_private_addresses_need_permission(web):
    guarded = RssSource.open("example", web.url("/feed"), StoppedClock(), allow_private=False)
    with pytest.raises(SourceRefused, match="not a public address"):
        await guarded.fetch(Validators())
    await guarded.close()
    assert web.asked == []


@pytest.mark.parametrize("name", ["coindesk", "cointelegraph", "decrypt"])
async def test_some_feeds_are_known_by_name(name):
    source = RssSource.open(name, None, StoppedClock(), allow_private=False)
    assert source.name == name
    assert READY_ADDRESSES[name].startswith("https://")
    await source.close()


@pytest.mark.parametrize(("name", "url"), [("unknown", None), ("x", "ftp://x/y"), ("x", "feed")])
def test_a_source_without_a_web_address_is_misconfigured(name, url):
    with pytest.raises(Misconfigured, match="url"):
        RssSource.open(name, url, StoppedClock(), allow_private=False)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<p>One</p><p>Two</p>", "One Two"),
        ("a<br>b", "a b"),
        ("<b>bo</b>ld", "bold"),
        ("x<script>alert(1)</script>y<style>p{}</style>", "xy"),
        ("AT&amp;T &lt;3 &#8217;", "AT&T <3 ’"),
        ("5 < 6 and 7 > 6", "5 < 6 and 7 > 6"),
        ("<img src=x onerror=alert(1)>picture", "picture"),
        ("tab\tnul\x00zero\u200bwidth\n", "tab nul zero width"),
        ("\ud800", "?"),
    ],
)
def test_html_becomes_the_text_a_reader_sees(html, text):
    assert plain_text(html) == text


def test_long_text_is_cut_at_a_word():
    assert shortened("one two three", 20) == "one two three"
    assert shortened("one two three", 10) == "one two…"
    assert len(shortened("x" * 50, 10)) == 10
