"""News from any RSS or Atom feed."""

from __future__ import annotations

import asyncio
import calendar
import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import feedparser

from finsight.adapters.news.found_article import Unreadable, article_from
from finsight.adapters.news.guarded_http import GuardedHttp, HttpAnswer
from finsight.domain.article import Article
from finsight.domain.errors import Misconfigured, SourceRefused, SourceUnavailable
from finsight.ports.clock import Clock
from finsight.ports.news import NewsAnswer, Validators

READY_ADDRESSES: Mapping[str, str] = {
    "coindesk": "https://www.coindesk.com/arc/outboundfeeds/rss",
    "cointelegraph": "https://cointelegraph.com/rss",
    "decrypt": "https://decrypt.co/feed",
}
"""Feeds that need only their name."""

MAX_ENTRIES = 1_000
_MAX_WARNINGS = 20
_CHARSET = re.compile(r"charset=[\"']?([\w.:-]+)", re.IGNORECASE)
# What feedparser's parsers let through on documents that no writer of feeds foresaw.
_PARSER_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RecursionError,
)


class RssSource:
    """Implements `ports.news.NewsSource` over one feed.

    Asks with the last answer's ETag and Last-Modified, so that an unchanged feed
    costs its server and us next to nothing.
    """

    def __init__(self, name: str, url: str, http: GuardedHttp, clock: Clock) -> None:
        self._name = name
        self._url = url
        self._http = http
        self._clock = clock

    @classmethod
    def open(cls, name: str, url: str | None, clock: Clock, *, allow_private: bool) -> RssSource:
        """Make a source that is ready to be read.

        Raises:
            Misconfigured: no web address is given and none is known for `name`.
        """
        address = url or READY_ADDRESSES.get(name)
        if address is None:
            known = ", ".join(sorted(READY_ADDRESSES))
            raise Misconfigured(f"the feed {name} needs a url; only {known} are known by name")
        if not address.lower().startswith(("http://", "https://")):
            raise Misconfigured(f"the url of the feed {name} must begin with http:// or https://")
        if "@" in urlsplit(address).netloc:
            # It would be shown to whoever asks what is collected.
            raise Misconfigured(f"the url of the feed {name} may not hold a user or a password")
        return cls(name, address, GuardedHttp(allow_private=allow_private), clock)

    @property
    def name(self) -> str:
        return self._name

    async def fetch(self, validators: Validators) -> NewsAnswer:
        answer = await self._http.get(self._url, _conditions(validators))
        if answer.status == 304:
            return NewsAnswer(unchanged=True, validators=validators)
        seen_at = self._clock.now()
        articles, warnings = await asyncio.to_thread(read_feed, self._name, answer, seen_at)
        return NewsAnswer(
            articles=tuple(articles),
            warnings=tuple(warnings),
            validators=Validators(
                etag=answer.headers.get("etag"),
                last_modified=answer.headers.get("last-modified"),
            ),
        )

    async def close(self) -> None:
        await self._http.close()


def read_feed(name: str, answer: HttpAnswer, seen_at: datetime) -> tuple[list[Article], list[str]]:
    """Read what can be read of a feed; return its articles, and warnings about the rest.

    Raises:
        SourceRefused: it isn't a feed.
        SourceUnavailable: it is nothing at all.
    """
    if not answer.body.strip():
        raise SourceUnavailable(f"the feed {name} answered an empty document")
    try:
        feed = feedparser.parse(
            io.BytesIO(answer.body),
            response_headers={
                "content-type": _content_type(answer),
                "content-location": answer.url,
            },
        )
    except _PARSER_ERRORS as exc:
        raise SourceRefused(f"the feed {name} can't be parsed: {exc}") from exc
    if not feed.get("version") and not feed.entries:
        kind = answer.headers.get("content-type", "a document of no stated type")
        raise SourceRefused(f"the feed {name} answered {kind}, which is not RSS or Atom")
    warnings = []
    if feed.bozo:
        warnings.append(f"the feed {name} is ill-formed: {feed.bozo_exception}")
    if len(feed.entries) > MAX_ENTRIES:
        warnings.append(f"the feed {name} has {len(feed.entries)} entries; {MAX_ENTRIES} are read")
    articles: dict[str, Article] = {}
    for entry in feed.entries[:MAX_ENTRIES]:
        try:
            article = article_from(
                source=name,
                url=_address(entry),
                title_html=entry.get("title") or "",
                summary_html=_summary(entry),
                published_at=_published_at(entry),
                seen_at=seen_at,
                warnings=warnings,
            )
        except Unreadable as exc:
            warnings.append(str(exc))
            continue
        articles.setdefault(article.id, article)
    if len(warnings) > _MAX_WARNINGS:
        left_out = len(warnings) - _MAX_WARNINGS
        warnings = [*warnings[:_MAX_WARNINGS], f"and {left_out} warnings more"]
    return list(articles.values()), warnings


def _conditions(validators: Validators) -> dict[str, str]:
    wanted = {
        "if-none-match": validators.etag,
        "if-modified-since": validators.last_modified,
    }
    # What can't be sent back as it came is not sent at all.
    return {key: value for key, value in wanted.items() if value and value.isprintable()
            and value.isascii()}  # fmt: skip


def _content_type(answer: HttpAnswer) -> str:
    """The type feedparser should believe: XML, whatever the server calls it, and its charset."""
    charset = _CHARSET.search(answer.headers.get("content-type", ""))
    return "application/xml" + (f"; charset={charset[1]}" if charset else "")


def _address(entry: Any) -> str:
    for candidate in (entry.get("link"), entry.get("id")):
        if candidate and str(candidate).lower().startswith(("http://", "https://")):
            return str(candidate)
    return ""


def _summary(entry: Any) -> str:
    summary = entry.get("summary")
    if not summary and entry.get("content"):
        summary = entry["content"][0].get("value")
    return str(summary or "")


def _published_at(entry: Any) -> datetime | None:
    # feedparser has already turned the date into UTC. Its own look-up would warn, because
    # it takes one key for the other.
    parsed = dict.get(entry, "published_parsed") or dict.get(entry, "updated_parsed")
    if parsed is None:
        return None
    try:
        return datetime.fromtimestamp(calendar.timegm(parsed), tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None
