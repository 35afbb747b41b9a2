"""What shadows scored, beside the scores that were given out."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from finsight.adapters.news.sqlite_rows import to_us
from finsight.domain.sentiment import ArticleScore, ShadowAgreement

# As `SentimentScore.label` decides it: neutral wins a tie, then positive.
_LABEL = (
    "CASE WHEN {0}.neutral >= max({0}.positive, {0}.negative) THEN 0 "
    "WHEN {0}.positive >= {0}.negative THEN 1 ELSE -1 END"
)


def save_shadow_rows(db: sqlite3.Connection, scores: Sequence[ArticleScore]) -> None:
    """Store each version's first score of an article; articles that aren't here are passed over."""
    db.executemany(
        "INSERT OR IGNORE INTO shadow_scores (number, model, model_version, negative, neutral, "
        "positive, scored_us) SELECT number, ?, ?, ?, ?, ?, ? FROM articles WHERE id = ?",
        [
            (
                score.sentiment.model,
                score.sentiment.model_version,
                score.sentiment.negative,
                score.sentiment.neutral,
                score.sentiment.positive,
                to_us(score.scored_at),
                score.article_id,
            )
            for score in scores
        ],
    )


def agreement_rows(db: sqlite3.Connection) -> list[ShadowAgreement]:
    """How often each shadow said the same as what was given out, by both their versions."""
    rows = db.execute(
        "SELECT s.model, s.model_version, h.model, h.model_version, count(*), "
        f"avg({_LABEL.format('s')} = {_LABEL.format('h')}), "
        "avg(abs((s.positive - s.negative) - (h.positive - h.negative))) "
        "FROM shadow_scores h JOIN scores s ON s.number = h.number "
        "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    )
    return [
        ShadowAgreement(
            model=model,
            model_version=version,
            shadow=shadow,
            shadow_version=shadow_version,
            articles=articles,
            same_label=same,
            mean_difference=difference,
        )
        for model, version, shadow, shadow_version, articles, same, difference in rows
    ]
