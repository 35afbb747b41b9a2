"""The tables of the article store, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3

from finsight.domain.errors import StoreUnavailable

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE articles (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        url TEXT NOT NULL,
        canonical_url TEXT NOT NULL,
        title TEXT NOT NULL,
        summary TEXT NOT NULL,
        source TEXT NOT NULL,
        story_id TEXT NOT NULL,
        published_us INTEGER NOT NULL,
        first_seen_us INTEGER NOT NULL,
        symbols TEXT NOT NULL,
        announced INTEGER NOT NULL DEFAULT 0,
        scored INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX articles_by_time ON articles (published_us, number);
    CREATE INDEX articles_unannounced ON articles (published_us, number) WHERE announced = 0;
    CREATE INDEX articles_unscored ON articles (published_us, number) WHERE scored = 0;
    CREATE TABLE article_symbols (
        symbol TEXT NOT NULL,
        published_us INTEGER NOT NULL,
        number INTEGER NOT NULL REFERENCES articles,
        PRIMARY KEY (symbol, published_us, number)
    ) WITHOUT ROWID;
    CREATE TABLE article_sources (
        source TEXT NOT NULL,
        published_us INTEGER NOT NULL,
        number INTEGER NOT NULL REFERENCES articles,
        added INTEGER NOT NULL,
        PRIMARY KEY (source, published_us, number)
    ) WITHOUT ROWID;
    CREATE INDEX sources_of_article ON article_sources (number, added);
    CREATE TABLE scores (
        number INTEGER PRIMARY KEY REFERENCES articles,
        negative REAL NOT NULL,
        neutral REAL NOT NULL,
        positive REAL NOT NULL,
        model TEXT NOT NULL,
        model_version TEXT NOT NULL,
        parts INTEGER NOT NULL,
        scored_us INTEGER NOT NULL,
        known_us INTEGER NOT NULL
    );
    CREATE VIRTUAL TABLE article_words USING fts5 (
        title, summary, content='articles', content_rowid='number',
        tokenize="unicode61 remove_diacritics 2"
    );
    """,
    # What was scored until now was announced when it was scored.
    """
    ALTER TABLE scores ADD COLUMN announced INTEGER NOT NULL DEFAULT 0;
    UPDATE scores SET announced = 1;
    CREATE INDEX scores_unannounced ON scores (scored_us, number) WHERE announced = 0;
    """,
    """
    CREATE TABLE shadow_scores (
        number INTEGER NOT NULL REFERENCES articles,
        model TEXT NOT NULL,
        model_version TEXT NOT NULL,
        negative REAL NOT NULL,
        neutral REAL NOT NULL,
        positive REAL NOT NULL,
        scored_us INTEGER NOT NULL,
        PRIMARY KEY (number, model, model_version)
    ) WITHOUT ROWID;
    """,
)
"""Each takes the file from the version before it; only ever append.

Times are microseconds since 1970, so that nothing of a moment is lost.
"""


def migrate(db: sqlite3.Connection) -> None:
    """Bring the file to the newest version, step by step, each step whole or not at all.

    Raises:
        StoreUnavailable: a newer FinSight wrote the file.
    """
    while (version := _version(db)) < len(MIGRATIONS):
        db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have taken this step while we waited for our turn.
            if _version(db) == version:
                for statement in _statements(MIGRATIONS[version]):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {version + 1}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
    if version > len(MIGRATIONS):
        raise StoreUnavailable(
            f"the article store is of version {version}, written by a newer FinSight; "
            f"this one reads up to {len(MIGRATIONS)}"
        )


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> list[str]:
    # executescript() would commit before it begins, and a half-made file would stay.
    return [statement for statement in script.split(";") if statement.strip()]
