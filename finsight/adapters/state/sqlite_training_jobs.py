"""Training jobs and their logs, in one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from finsight.adapters.write_ahead import log_ahead
from finsight.domain.errors import NotFound, StoreUnavailable
from finsight.domain.timeframe import from_ms, to_ms
from finsight.domain.training_job import JobState, TrainingJob

T = TypeVar("T")

LOG_CHARACTERS = 1_000_000
"""Of a longer log the end is kept."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT UNIQUE,
    state TEXT NOT NULL,
    submitted_ms INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    document TEXT NOT NULL,
    log TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, submitted_ms);
CREATE TABLE IF NOT EXISTS seen (name TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) WITHOUT ROWID;
"""


class SqliteTrainingJobs:
    """Implements `ports.training_jobs.TrainingJobStore`.

    Many processes may use one file; a change is on the disk when its call returns. Each
    call opens the file anew, so that nothing is carried over a crash.
    """

    def __init__(self, path: Path, timeout_s: float = 20.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._made = False

    async def add(self, job: TrainingJob) -> TrainingJob:
        def work(db: sqlite3.Connection) -> TrainingJob:
            had = db.execute("SELECT document FROM jobs WHERE key = ?", (job.key,)).fetchone()
            if had is not None:
                return TrainingJob.model_validate_json(had[0])
            db.execute(
                "INSERT INTO jobs (id, key, state, submitted_ms, taken, document) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (job.id, job.key, *_columns(job)),
            )
            return job

        return await self._run(work)

    async def get(self, job_id: str) -> TrainingJob:
        return await self._run(lambda db: _read(_row(db, "document", job_id)))

    async def recent(self, states: Sequence[JobState] = (), limit: int = 100) -> list[TrainingJob]:
        wanted = states or tuple(JobState)
        marks = ", ".join("?" * len(wanted))
        sql = (
            f"SELECT document FROM jobs WHERE state IN ({marks}) "
            "ORDER BY submitted_ms DESC, number DESC LIMIT ?"
        )
        rows = await self._run(lambda db: db.execute(sql, (*map(str, wanted), limit)).fetchall())
        return [_read(row) for row in rows]

    async def take_next(self, most: int) -> TrainingJob | None:
        def work(db: sqlite3.Connection) -> TrainingJob | None:
            busy = "SELECT count(*) FROM jobs WHERE state = ? OR (state = ? AND taken = 1)"
            count = db.execute(busy, (JobState.RUNNING.value, JobState.QUEUED.value)).fetchone()[0]
            if count >= most:
                return None
            row = db.execute(
                "SELECT document FROM jobs WHERE state = ? AND taken = 0 "
                "ORDER BY submitted_ms, number LIMIT 1",
                (JobState.QUEUED.value,),
            ).fetchone()
            if row is None:
                return None
            taken = _read(row).taken()
            _write(db, taken)
            return taken

        return await self._run(work)

    async def replace(self, before: TrainingJob, after: TrainingJob) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            if _read(_row(db, "document", before.id)) != before:
                return False
            _write(db, after)
            return True

        return await self._run(work)

    async def newest_with_key(self, prefix: str) -> TrainingJob | None:
        sql = (
            "SELECT document FROM jobs WHERE substr(key, 1, ?) = ? "
            "ORDER BY submitted_ms DESC, number DESC LIMIT 1"
        )
        row = await self._run(lambda db: db.execute(sql, (len(prefix), prefix)).fetchone())
        return None if row is None else _read(row)

    async def save_log(self, job_id: str, log: str) -> None:
        kept = log[-LOG_CHARACTERS:]
        await self._run(
            lambda db: db.execute("UPDATE jobs SET log = ? WHERE id = ?", (kept, job_id))
        )

    async def log(self, job_id: str) -> str:
        return str(await self._run(lambda db: _row(db, "log", job_id)[0]))

    async def first_seen(self, name: str, now: datetime) -> datetime:
        def work(db: sqlite3.Connection) -> datetime:
            db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (name, to_ms(now)))
            row = db.execute("SELECT at_ms FROM seen WHERE name = ?", (name,)).fetchone()
            return from_ms(row[0])

        return await self._run(work)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._run_now, work)

    def _run_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._opened() as db:
            return work(db)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """One transaction that nobody else's writes come between."""
        try:
            if not self._made:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, timeout=self._timeout_s, isolation_level=None)
            try:
                if not self._made:
                    log_ahead(db, self._timeout_s)
                    db.executescript(_SCHEMA)
                    self._made = True
                db.execute("PRAGMA synchronous=FULL")
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
            finally:
                db.close()
        except (sqlite3.Error, OSError) as exc:
            raise StoreUnavailable(
                f"the training jobs in {self._path} can't be used: {exc}"
            ) from exc


def _columns(job: TrainingJob) -> tuple[str, int, bool, str]:
    taken = job.state is JobState.QUEUED and job.run_id is not None
    return job.state.value, to_ms(job.submitted_at), taken, job.model_dump_json()


def _write(db: sqlite3.Connection, job: TrainingJob) -> None:
    db.execute(
        "UPDATE jobs SET state = ?, submitted_ms = ?, taken = ?, document = ? WHERE id = ?",
        (*_columns(job), job.id),
    )


def _read(row: tuple[str]) -> TrainingJob:
    return TrainingJob.model_validate_json(row[0])


def _row(db: sqlite3.Connection, column: str, job_id: str) -> tuple[str]:
    """Raises: NotFound."""
    row: tuple[str] | None = db.execute(
        f"SELECT {column} FROM jobs WHERE id = ?", (job_id,)
    ).fetchone()
    if row is None:
        known = [found[0] for found in db.execute("SELECT id FROM jobs")]
        close = get_close_matches(job_id, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "`finsight jobs list` shows them"
        raise NotFound(f"there is no job {job_id}; {hint}")
    return row
