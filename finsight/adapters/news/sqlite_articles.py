"""Articles and their scores in one SQLite file."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from finsight.adapters.news.sqlite_file import SqliteFile
from finsight.adapters.news.sqlite_rows import (
    ARTICLE_COLUMNS,
    SCORE_COLUMNS,
    find_rows,
    from_us,
    read_article,
    read_scored,
    to_us,
    write_cursor,
)
from finsight.adapters.news.sqlite_sentiment import (
    known_rows,
    mark_rows_announced,
    save_score_rows,
    trend_points,
    unannounced_rows,
)
from finsight.domain.article import Article
from finsight.domain.errors import NotFound
from finsight.domain.sentiment import ArticleScore, TrendPoint
from finsight.domain.story import STORY_WINDOW, Headline, StoryIndex
from finsight.ports.news import (
    ArticlePage,
    ArticleQuery,
    KnownSentiment,
    ScoredArticle,
    SourceSummary,
)

_SELECT = f"SELECT {ARTICLE_COLUMNS} FROM articles a"


class SqliteArticleStore:
    """Implements `ports.news.ArticleStore`.

    Safe for many processes: each call is one transaction, and writers wait for
    each other. The file is opened at the first call, so a store can be made
    before its disk is there.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path)

    async def add(self, articles: Sequence[Article]) -> list[Article]:
        return await asyncio.to_thread(self._add, articles) if articles else []

    async def unannounced(self, limit: int) -> list[Article]:
        return await asyncio.to_thread(self._left_to_do, "announced", limit)

    async def unscored(self, limit: int) -> list[Article]:
        return await asyncio.to_thread(self._left_to_do, "scored", limit)

    async def mark_announced(self, article_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self._mark_announced, article_ids)

    async def get(self, article_id: str) -> ScoredArticle:
        return await asyncio.to_thread(self._get, article_id)

    async def search(self, query: ArticleQuery) -> ArticlePage:
        return await asyncio.to_thread(self._search, query)

    async def sources(self) -> list[SourceSummary]:
        return await asyncio.to_thread(self._sources)

    async def save_scores(self, scores: Sequence[ArticleScore]) -> list[str]:
        """A score of an article that isn't here is passed over.

        See `ports.news.ArticleStore.save_scores`.
        """
        return await asyncio.to_thread(self._save_scores, scores)

    async def unannounced_scores(self, limit: int) -> list[ScoredArticle]:
        return await asyncio.to_thread(self._unannounced_scores, limit)

    async def mark_scores_announced(self, article_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self._mark_scores_announced, article_ids)

    async def trend(
        self, symbol: str | None, start: datetime, end: datetime, bucket: timedelta
    ) -> list[TrendPoint]:
        """The last bucket ends at `end`. See `ports.news.ArticleStore.trend`.

        Raises:
            InvalidInput: an empty range or bucket, or more buckets than anyone reads.
        """
        return await asyncio.to_thread(self._trend, symbol, start, end, bucket)

    async def known_sentiment(
        self, symbol: str, until: datetime, since: datetime | None = None
    ) -> list[KnownSentiment]:
        return await asyncio.to_thread(self._known_sentiment, symbol, until, since)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._file.close()

    def _add(self, articles: Sequence[Article]) -> list[Article]:
        added = []
        with self._file.writing() as db:
            index: StoryIndex | None = None
            for article in articles:
                if _has(db, article.id):
                    _note_source(db, article)
                    continue
                index = index or _recent_headlines(db, articles)
                same_story = index.find(Headline.of(article))
                story_id = same_story.story_id if same_story else article.id
                stored = article.model_copy(update={"story_id": story_id, "also_in": ()})
                index.add(Headline.of(stored))
                _insert(db, stored)
                added.append(article.id)
            # Read back at the end: a later article of the same call may have added a source.
            return [read_article(_row_of(db, article_id)) for article_id in added]

    def _left_to_do(self, what: str, limit: int) -> list[Article]:
        sql = f"{_SELECT} WHERE a.{what} = 0 ORDER BY a.published_us, a.number LIMIT ?"
        with self._file.reading() as db:
            return [read_article(row) for row in db.execute(sql, (limit,))]

    def _mark_announced(self, article_ids: Sequence[str]) -> None:
        with self._file.writing() as db:
            db.executemany(
                "UPDATE articles SET announced = 1 WHERE id = ? AND announced = 0",
                [(article_id,) for article_id in article_ids],
            )

    def _get(self, article_id: str) -> ScoredArticle:
        sql = (
            f"SELECT {ARTICLE_COLUMNS}, {SCORE_COLUMNS} FROM articles a "
            "LEFT JOIN scores s ON s.number = a.number WHERE a.id = ?"
        )
        with self._file.reading() as db:
            row = db.execute(sql, (article_id,)).fetchone()
        if row is None:
            raise NotFound(f"there is no article {article_id}")
        return read_scored(row)

    def _search(self, query: ArticleQuery) -> ArticlePage:
        with self._file.reading() as db:
            rows = find_rows(db, query)
        page = rows[: query.limit]
        more = write_cursor(page[-1]) if len(rows) > query.limit else None
        return ArticlePage(tuple(read_scored(row) for row in page), more)

    def _sources(self) -> list[SourceSummary]:
        sql = "SELECT source, count(*), max(published_us) FROM article_sources GROUP BY source"
        with self._file.reading() as db:
            rows = db.execute(f"{sql} ORDER BY source").fetchall()
        return [SourceSummary(source, count, from_us(newest)) for source, count, newest in rows]

    def _save_scores(self, scores: Sequence[ArticleScore]) -> list[str]:
        with self._file.writing() as db:
            return save_score_rows(db, scores)

    def _unannounced_scores(self, limit: int) -> list[ScoredArticle]:
        with self._file.reading() as db:
            return unannounced_rows(db, limit)

    def _mark_scores_announced(self, article_ids: Sequence[str]) -> None:
        with self._file.writing() as db:
            mark_rows_announced(db, article_ids)

    def _trend(
        self, symbol: str | None, start: datetime, end: datetime, bucket: timedelta
    ) -> list[TrendPoint]:
        with self._file.reading() as db:
            return trend_points(db, symbol, start, end, bucket)

    def _known_sentiment(
        self, symbol: str, until: datetime, since: datetime | None
    ) -> list[KnownSentiment]:
        with self._file.reading() as db:
            return known_rows(db, symbol, until, since)


def _has(db: sqlite3.Connection, article_id: str) -> bool:
    row = db.execute("SELECT 1 FROM articles WHERE id = ?", (article_id,)).fetchone()
    return row is not None


def _row_of(db: sqlite3.Connection, article_id: str) -> tuple[object, ...]:
    row: tuple[object, ...] = db.execute(f"{_SELECT} WHERE a.id = ?", (article_id,)).fetchone()
    return row


def _note_source(db: sqlite3.Connection, article: Article) -> None:
    db.execute(
        "INSERT OR IGNORE INTO article_sources (source, published_us, number, added) "
        "SELECT ?, published_us, number, (SELECT count(*) FROM article_sources o "
        "WHERE o.number = articles.number) FROM articles WHERE id = ?",
        (article.source, article.id),
    )


def _insert(db: sqlite3.Connection, article: Article) -> None:
    number = db.execute(
        "INSERT INTO articles (id, url, canonical_url, title, summary, source, story_id, "
        "published_us, first_seen_us, symbols) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            article.id,
            article.url,
            article.canonical_url,
            article.title,
            article.summary,
            article.source,
            article.story_id,
            to_us(article.published_at),
            to_us(article.first_seen_at),
            json.dumps(article.symbols),
        ),
    ).lastrowid
    db.execute(
        "INSERT INTO article_words (rowid, title, summary) VALUES (?, ?, ?)",
        (number, article.title, article.summary),
    )
    published_us = to_us(article.published_at)
    db.executemany(
        "INSERT OR IGNORE INTO article_symbols VALUES (?, ?, ?)",
        [(symbol, published_us, number) for symbol in article.symbols],
    )
    _note_source(db, article)


def _recent_headlines(db: sqlite3.Connection, articles: Sequence[Article]) -> StoryIndex:
    """What the store holds around the times of `articles`, oldest story first."""
    first = min(article.published_at for article in articles) - STORY_WINDOW
    last = max(article.published_at for article in articles) + STORY_WINDOW
    index = StoryIndex()
    sql = f"{_SELECT} WHERE a.published_us BETWEEN ? AND ? ORDER BY a.number"
    for row in db.execute(sql, (to_us(first), to_us(last))):
        index.add(Headline.of(read_article(row)))
    return index
