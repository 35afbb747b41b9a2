"""The scores of the article store: kept once, and summed up over time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from finsight.adapters.news.sqlite_rows import (
    ARTICLE_COLUMNS,
    SCORE_COLUMNS,
    from_us,
    read_scored,
    to_us,
)
from finsight.domain.errors import InvalidInput
from finsight.domain.sentiment import ArticleScore, TrendPoint
from finsight.ports.news import KnownSentiment, ScoredArticle

MAX_BUCKETS = 10_000


def save_score_rows(db: sqlite3.Connection, scores: Sequence[ArticleScore]) -> list[str]:
    """Store each article's first score; return the ids of those that had none."""
    first_scored = []
    for score in scores:
        sentiment, scored_us = score.sentiment, to_us(score.scored_at)
        stored = db.execute(
            "INSERT OR IGNORE INTO scores (number, negative, neutral, positive, model, "
            "model_version, parts, scored_us, known_us) SELECT number, ?, ?, ?, ?, ?, ?, ?, "
            "max(published_us, first_seen_us, ?) FROM articles WHERE id = ?",
            (
                sentiment.negative,
                sentiment.neutral,
                sentiment.positive,
                sentiment.model,
                sentiment.model_version,
                sentiment.parts,
                scored_us,
                scored_us,
                score.article_id,
            ),
        )
        if stored.rowcount:
            db.execute("UPDATE articles SET scored = 1 WHERE id = ?", (score.article_id,))
            first_scored.append(score.article_id)
    return first_scored


def unannounced_rows(db: sqlite3.Connection, limit: int) -> list[ScoredArticle]:
    """Articles whose score is not marked announced, first scored first."""
    rows = db.execute(
        f"SELECT {ARTICLE_COLUMNS}, {SCORE_COLUMNS} FROM scores s "
        "JOIN articles a ON a.number = s.number WHERE s.announced = 0 "
        "ORDER BY s.scored_us, s.number LIMIT ?",
        (limit,),
    )
    return [read_scored(row) for row in rows]


def mark_rows_announced(db: sqlite3.Connection, article_ids: Sequence[str]) -> None:
    db.executemany(
        "UPDATE scores SET announced = 1 WHERE announced = 0 "
        "AND number = (SELECT number FROM articles WHERE id = ?)",
        [(article_id,) for article_id in article_ids],
    )


def trend_points(
    db: sqlite3.Connection, symbol: str | None, start: datetime, end: datetime, bucket: timedelta
) -> list[TrendPoint]:
    """Mean score and count of scored articles by published time, one point a bucket.

    Raises:
        InvalidInput: an empty range or bucket, or more than `MAX_BUCKETS`.
    """
    start_us, end_us, bucket_us = to_us(start), to_us(end), bucket // timedelta(microseconds=1)
    if bucket_us <= 0 or end_us <= start_us:
        raise InvalidInput("a trend needs an end after its start, and a bucket longer than nothing")
    buckets = -((start_us - end_us) // bucket_us)
    if buckets > MAX_BUCKETS:
        raise InvalidInput(f"{buckets} buckets are too many; at most {MAX_BUCKETS} are answered")
    joined = "scores s JOIN articles a ON a.number = s.number"
    condition, values = "", list[str]()
    if symbol is not None:
        joined = "article_symbols a JOIN scores s ON s.number = a.number"
        condition, values = "AND a.symbol = ?", [symbol.upper()]
    rows = db.execute(
        "SELECT (a.published_us - ?) / ?, count(*), avg(s.positive - s.negative) "
        f"FROM {joined} WHERE a.published_us >= ? AND a.published_us < ? {condition} GROUP BY 1",
        [start_us, bucket_us, start_us, end_us, *values],
    )
    filled = {number: (count, mean) for number, count, mean in rows}
    points = []
    for number in range(buckets):
        count, mean = filled.get(number, (0, None))
        opened_us = start_us + number * bucket_us
        points.append(
            TrendPoint(
                start=from_us(opened_us),
                end=from_us(min(opened_us + bucket_us, end_us)),
                articles=count,
                # A mean of numbers in [-1, 1] may leave it by the last bit.
                score=None if mean is None else min(1.0, max(-1.0, mean)),
            )
        )
    return points


def known_rows(
    db: sqlite3.Connection, symbol: str, until: datetime, since: datetime | None = None
) -> list[KnownSentiment]:
    """The scores of `symbol` known in `(since, until]`, in the order they became known."""
    rows = db.execute(
        "SELECT s.known_us, y.published_us, s.positive - s.negative FROM article_symbols y "
        "JOIN scores s ON s.number = y.number WHERE y.symbol = ? AND y.published_us <= ? "
        "AND s.known_us <= ? AND s.known_us > ? "
        "ORDER BY s.known_us, y.published_us, y.number",
        (symbol.upper(), to_us(until), to_us(until), -1 if since is None else to_us(since)),
    )
    return [
        KnownSentiment(from_us(known_us), from_us(published_us), score)
        for known_us, published_us, score in rows
    ]
