"""Rows of the article store to domain objects, and questions to SQL."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from datetime import datetime, timedelta
from typing import Any

from finsight.domain.article import Article
from finsight.domain.errors import InvalidInput
from finsight.domain.sentiment import ArticleScore, SentimentScore
from finsight.domain.timeframe import EPOCH
from finsight.ports.news import ArticleQuery, ScoredArticle

MAX_LIMIT = 1_000

ARTICLE_COLUMNS = (
    "a.number, a.id, a.url, a.canonical_url, a.title, a.summary, a.source, a.story_id, "
    "a.published_us, a.first_seen_us, a.symbols, "
    "(SELECT json_group_array(source) FROM (SELECT source FROM article_sources o "
    " WHERE o.number = a.number AND o.source <> a.source ORDER BY o.added, o.source)) AS also_in"
)
SCORE_COLUMNS = "s.negative, s.neutral, s.positive, s.model, s.model_version, s.parts, s.scored_us"

_TERM = re.compile(r'"([^"]*)"?(\*?)|(\S+)')


def to_us(moment: datetime) -> int:
    """Microseconds since 1970, exact."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_us(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def read_article(row: tuple[Any, ...]) -> Article:
    """Read the columns of `ARTICLE_COLUMNS`."""
    (_, name, url, canonical, title, summary, source, story, published, seen, symbols, also) = row
    return Article(
        id=name,
        url=url,
        canonical_url=canonical,
        title=title,
        summary=summary,
        source=source,
        also_in=tuple(json.loads(also)),
        story_id=story,
        published_at=from_us(published),
        first_seen_at=from_us(seen),
        symbols=tuple(json.loads(symbols)),
    )


def read_scored(row: tuple[Any, ...]) -> ScoredArticle:
    """Read the columns of `ARTICLE_COLUMNS` and `SCORE_COLUMNS`."""
    article = read_article(row[:12])
    negative, neutral, positive, model, version, parts, scored_us = row[12:]
    if model is None:
        return ScoredArticle(article)
    sentiment = SentimentScore(
        negative=negative,
        neutral=neutral,
        positive=positive,
        model=model,
        model_version=version,
        parts=parts,
    )
    score = ArticleScore(article_id=article.id, sentiment=sentiment, scored_at=from_us(scored_us))
    return ScoredArticle(article, score)


def find_rows(db: sqlite3.Connection, query: ArticleQuery) -> list[tuple[Any, ...]]:
    """Return the rows that `query` asks for, and one more when there are more.

    Raises:
        InvalidInput: a limit out of bounds, or a cursor that isn't ours.
    """
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidInput(f"the limit must be from 1 to {MAX_LIMIT}, not {query.limit}")
    tables, conditions, values = ["articles a"], [], list[Any]()
    if query.symbol is not None:
        tables.append("JOIN article_symbols y ON y.number = a.number")
        conditions.append("y.symbol = ?")
        values.append(query.symbol.upper())
    if query.source is not None:
        tables.append("JOIN article_sources f ON f.number = a.number")
        conditions.append("f.source = ?")
        values.append(query.source)
    if query.text is not None and query.text.strip():
        wanted = words_query(query.text)
        if wanted is None:
            return []
        conditions.append(
            "a.number IN (SELECT rowid FROM article_words WHERE article_words MATCH ?)"
        )
        values.append(wanted)
    if query.after is not None:
        conditions.append("a.published_us >= ?")
        values.append(to_us(query.after))
    if query.before is not None:
        conditions.append("a.published_us < ?")
        values.append(to_us(query.before))
    if query.cursor is not None:
        conditions.append("(a.published_us, a.number) < (?, ?)")
        values.extend(read_cursor(query.cursor))
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return db.execute(
        f"SELECT {ARTICLE_COLUMNS}, {SCORE_COLUMNS} FROM {' '.join(tables)} "
        f"LEFT JOIN scores s ON s.number = a.number {where} "
        "ORDER BY a.published_us DESC, a.number DESC LIMIT ?",
        [*values, query.limit + 1],
    ).fetchall()


def words_query(text: str) -> str | None:
    """What FTS5 is asked for `text`, or None when it holds no word.

    Every word must be there; "in quotes" they must follow each other, and a star
    ends the beginning of a word (bitc*). Everything else is taken literally.
    """
    wanted = []
    for phrase, star, word in _TERM.findall(text.encode("utf-8", "replace").decode()):
        term, prefix = (phrase, star) if not word else (word.rstrip("*"), word[-1:])
        if any(character.isalnum() for character in term):
            literal = term.replace('"', " ").replace("\0", " ")
            wanted.append(f'"{literal}"{"*" if prefix == "*" else ""}')
    return " AND ".join(wanted) or None


def write_cursor(row: tuple[Any, ...]) -> str:
    """A cursor that goes on after `row`, the last one of a page."""
    return base64.urlsafe_b64encode(f"{row[8]}:{row[0]}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[int, int]:
    """Raises: InvalidInput (a cursor that isn't ours)."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        decoded = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        published_us, number = (int(part) for part in decoded.split(":"))
    except ValueError as exc:
        raise InvalidInput("the cursor is not one that a page of articles ended with") from exc
    if max(abs(published_us), abs(number)) >= 1 << 63:
        raise InvalidInput("the cursor is not one that a page of articles ended with")
    return published_us, number
