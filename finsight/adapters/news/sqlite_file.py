"""One SQLite file that many threads and processes read and write at the same time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finsight.adapters.news.sqlite_schema import migrate
from finsight.adapters.write_ahead import log_ahead
from finsight.domain.errors import StoreUnavailable

BUSY_S = 20.0
"""How long one writer waits for another."""


class SqliteFile:
    """Hands out connections to one file, each to one thread at a time.

    Write-ahead logging lets processes read while one writes. A transaction is on the
    disk when it is committed (`synchronous=FULL`), so what was stored survives a
    crash of the process and of the machine.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Appending to and popping from a list are atomic: no lock is needed.
        self._idle: list[sqlite3.Connection] = []

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the file. Raises: StoreUnavailable."""
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that nobody else's writes come between. Raises: StoreUnavailable."""
        # IMMEDIATE waits here for the turn to write; a read that turns into a write can't wait.
        with self._transaction("BEGIN IMMEDIATE") as db:
            yield db

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with _sqlite_errors_translated(self._path):
            db = self._idle.pop() if self._idle else self._open()
            try:
                db.execute(begin)
                yield db
                db.execute("COMMIT")
            except BaseException:
                # Whatever went wrong, the next user of this file begins with a clean connection.
                db.close()
                raise
            self._idle.append(db)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(
            self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            log_ahead(db, BUSY_S)
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            migrate(db)
        except BaseException:
            db.close()
            raise
        return db


@contextmanager
def _sqlite_errors_translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise StoreUnavailable(f"the article store {path} did not answer: {exc}") from exc
