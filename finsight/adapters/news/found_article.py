"""From what a source says of an article to an Article, the same way for every source."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from finsight.domain.article import Article, article_id
from finsight.domain.canonical_url import canonical_url
from finsight.domain.errors import InvalidInput

CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of ours a publisher's clock may be."""

MAX_TITLE_CHARACTERS = 300
MAX_SUMMARY_CHARACTERS = 2_000

_OLDEST = datetime(1995, 1, 1, tzinfo=UTC)
_UNSEEN = frozenset({"script", "style", "head", "template", "noscript", "iframe"})
_BREAKS = frozenset({"p", "br", "div", "li", "tr", "td", "th", "h1", "h2", "h3", "h4", "ul", "ol"})


class Unreadable(Exception):
    """An entry has too little to be an article; the message says what is missing."""


def article_from(
    *,
    source: str,
    url: str,
    title_html: str,
    summary_html: str,
    published_at: datetime | None,
    seen_at: datetime,
    warnings: list[str],
) -> Article:
    """Build the article, first seen at `seen_at`, with HTML taken out of its texts.

    A date that is missing, older than news on the web, or ahead of our clock by
    more than `CLOCK_SKEW` becomes `seen_at`, with a warning: nothing may claim to
    be known at a time that nobody can vouch for.

    Raises:
        Unreadable: no web address, or neither title nor summary.
    """
    try:
        canonical = canonical_url(url)
    except InvalidInput as exc:
        raise Unreadable(f"an entry has no usable address: {exc}") from exc
    summary = shortened(plain_text(summary_html), MAX_SUMMARY_CHARACTERS)
    title = shortened(plain_text(title_html) or summary, MAX_TITLE_CHARACTERS)
    if not title:
        raise Unreadable(f"{url} has neither title nor summary")
    if published_at is None or published_at < _OLDEST:
        warnings.append(f"{url} has no readable date; its first reading is taken")
        published_at = seen_at
    elif published_at > seen_at + CLOCK_SKEW:
        warnings.append(f"{url} is dated {published_at:%Y-%m-%d %H:%M}, in the future")
        published_at = seen_at
    name = article_id(canonical)
    return Article(
        id=name,
        url=url.strip(),
        canonical_url=canonical,
        title=title,
        summary=summary,
        source=source,
        story_id=name,
        published_at=published_at,
        first_seen_at=seen_at,
    )


def plain_text(html: str) -> str:
    """The text a reader would see, on one line."""
    if "<" not in html and "&" not in html:
        return _one_line(html)
    reader = _TextReader()
    reader.feed(html)
    reader.close()
    return _one_line("".join(reader.pieces))


def shortened(text: str, max_characters: int) -> str:
    """`text`, cut at the end of a word with an ellipsis where it is too long."""
    if len(text) <= max_characters:
        return text
    cut = text[: max_characters - 1]
    return (cut.rpartition(" ")[0] or cut) + "…"


def _one_line(text: str) -> str:
    # Lone surrogates and control characters can't be stored or sent on.
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u200b\ufeff]", " ", clean).split())


class _TextReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag in _BREAKS:
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag in _BREAKS:
            self.pieces.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces.append(data)
