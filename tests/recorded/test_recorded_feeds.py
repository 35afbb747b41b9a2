"""The demo's own feeds: read by the real reader, true to the candles, answered with validators."""

import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from finsight.adapters.clock import SystemClock
from finsight.adapters.news.guarded_http import HttpAnswer
from finsight.adapters.news.rss_source import read_feed
from finsight.adapters.news.sqlite_articles import SqliteArticleStore
from finsight.recordings import feeds as recorded
from finsight.recordings import make_notes
from finsight.services.symbol_tags import tagged

FOLDER = Path(recorded.__file__).parent / "feeds"
FILES = ("market-notes.rss", "desk-notes.xml")
END = make_notes.END


def articles_of(file):
    answer = HttpAnswer(200, {}, (FOLDER / file).read_bytes(), "http://x.example/")
    articles, warnings = read_feed(file.partition(".")[0], answer, END)
    assert warnings == []
    return [tagged(article) for article in articles]


@pytest.mark.parametrize("file", FILES)
def test_each_feed_has_some_twenty_dated_notes_about_coins(file):
    articles = articles_of(file)
    assert 18 <= len(articles) <= 24
    assert len({article.title for article in articles}) == len(articles)
    for article in articles:
        assert make_notes.FIRST_DAY < article.published_at <= END
        assert set(article.symbols) & {"BTC", "ETH"}
        assert article.canonical_url.startswith("https://finsight.example/notes/")


def test_the_feeds_are_what_the_script_makes(tmp_path, monkeypatch):
    (tmp_path / "candles").symlink_to(FOLDER.parent / "candles")
    monkeypatch.setattr(make_notes, "HERE", tmp_path)
    make_notes.main()
    for file in FILES:
        assert (tmp_path / "feeds" / file).read_bytes() == (FOLDER / file).read_bytes()


def test_a_note_says_what_the_candles_say():
    [note] = [a for a in articles_of(FILES[0]) if a.canonical_url.endswith("btc-day-2025-12-12")]
    btc = make_notes.Market().binance["BTC"]
    opened = btc.column("close", datetime(2025, 12, 11, 23, tzinfo=UTC), make_notes.LAST_DAY)[0]
    closed = btc.column("close", *(datetime(2025, 12, day, hour, tzinfo=UTC) for day, hour in ((12, 23), (13, 0))))[0]  # fmt: skip  # noqa: E501
    percent, price = re.search(r"falls ([\d.]+)% in a day to \$([\d,]+)", note.title).groups()
    assert float(percent) == pytest.approx((1 - closed / opened) * 100, abs=0.05)
    assert float(price.replace(",", "")) == pytest.approx(closed, abs=0.5)


async def test_some_stories_are_in_both_feeds(tmp_path):
    store = SqliteArticleStore(tmp_path / "articles.sqlite")
    first, second = [await store.add(articles_of(file)) for file in FILES]
    store.close()
    stories = {article.story_id for article in first}
    assert len(stories) == len(first)
    assert sum(article.story_id in stories for article in second) == 4


@pytest.fixture
async def site(tmp_path):
    (tmp_path / "notes.rss").write_bytes(b"<rss version='2.0'/>")
    app = Starlette(routes=list(recorded.feed_routes(tmp_path, SystemClock())))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client


async def test_a_feed_is_answered_once_and_then_only_when_it_changed(site, tmp_path):
    first = await site.get("/feeds/notes")
    assert (first.status_code, first.content) == (200, b"<rss version='2.0'/>")
    for known in (
        {"if-none-match": first.headers["etag"]},
        {"if-none-match": f'W/{first.headers["etag"]}, "other"'},
        {"if-modified-since": first.headers["last-modified"]},
    ):
        again = await site.get("/feeds/notes", headers=known)
        assert (again.status_code, again.content) == (304, b"")
    (tmp_path / "notes.rss").write_bytes(b"<rss version='2.0'><channel/></rss>")
    changed = await site.get("/feeds/notes", headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("path", ["/feeds/other", "/feeds/..%2Fnotes", "/feeds/notes.rss"])
async def test_only_feeds_are_served(site, path):
    assert (await site.get(path)).status_code == 404
