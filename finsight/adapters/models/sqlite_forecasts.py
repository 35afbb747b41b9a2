"""Forecasts and how they turned out, in one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from finsight.adapters.write_ahead import log_ahead
from finsight.domain.accuracy import ForecastError
from finsight.domain.candle import Series
from finsight.domain.errors import NotFound, StoreUnavailable
from finsight.domain.forecast import Forecast
from finsight.domain.timeframe import to_ms
from finsight.ports.forecasts import ScoredForecast

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS forecasts (
    id TEXT PRIMARY KEY,
    series TEXT NOT NULL,
    origin_ms INTEGER NOT NULL,
    made_ms INTEGER NOT NULL,
    last_step_ms INTEGER NOT NULL,
    document TEXT NOT NULL,
    error TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS newest ON forecasts (series, origin_ms);
CREATE INDEX IF NOT EXISTS newest_of_all ON forecasts (origin_ms);
CREATE INDEX IF NOT EXISTS due ON forecasts (series, last_step_ms) WHERE error IS NULL;
"""


class SqliteForecastStore:
    """Implements `ports.forecasts.ForecastStore`.

    Many processes may use one file: write-ahead logging lets them read while one
    writes, and a writer waits for another up to `timeout_s`. Each call opens the file
    anew, so that nothing is shared between threads or carried over a crash.
    """

    def __init__(self, path: Path, timeout_s: float = 20.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._made = False

    async def save(self, forecasts: Sequence[Forecast]) -> None:
        rows = [
            (
                forecast.id,
                forecast.series.key,
                to_ms(forecast.origin),
                to_ms(forecast.made_at),
                to_ms(forecast.steps[-1].opened_at),
                forecast.model_dump_json(),
                forecast.role.value,
            )
            for forecast in forecasts
        ]
        sql = (
            "INSERT OR IGNORE INTO forecasts (id, series, origin_ms, made_ms, last_step_ms, "
            "document, role) VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        await self._run(lambda db: db.executemany(sql, rows))

    async def get(self, forecast_id: str) -> ScoredForecast:
        sql = "SELECT document, error FROM forecasts WHERE id = ?"
        row = await self._run(lambda db: db.execute(sql, (forecast_id,)).fetchone())
        if row is None:
            raise NotFound(f"there is no forecast {forecast_id}")
        return _scored(row)

    async def due(self, series: Series, until: datetime, limit: int) -> list[Forecast]:
        sql = (
            "SELECT document FROM forecasts WHERE error IS NULL AND series = ? "
            "AND last_step_ms < ? ORDER BY last_step_ms LIMIT ?"
        )
        values = (series.key, to_ms(until), limit)
        rows = await self._run(lambda db: db.execute(sql, values).fetchall())
        return [Forecast.model_validate_json(row[0]) for row in rows]

    async def save_errors(self, errors: Sequence[ForecastError]) -> None:
        rows = [(error.model_dump_json(), error.forecast_id) for error in errors]
        sql = "UPDATE forecasts SET error = ? WHERE id = ? AND error IS NULL"
        await self._run(lambda db: db.executemany(sql, rows))

    async def latest(self, series: Series) -> Forecast | None:
        found = await self.recent(series, 1)
        return found[0].forecast if found else None

    async def recent(self, series: Series | None, limit: int) -> list[ScoredForecast]:
        where, values = _of(series, "role <> 'shadow'")
        # Of two with one origin, the one made later comes first.
        sql = f"SELECT document, error FROM forecasts {where} ORDER BY origin_ms DESC, made_ms DESC"
        rows = await self._run(lambda db: db.execute(f"{sql} LIMIT ?", (*values, limit)).fetchall())
        return [_scored(row) for row in rows]

    async def errors(self, series: Series | None, since: datetime | None) -> list[ForecastError]:
        where, values = _of(series, "error IS NOT NULL", "origin_ms >= ?")
        values += (to_ms(since) if since else -(2**62),)
        sql = f"SELECT error FROM forecasts {where} ORDER BY origin_ms, made_ms"
        # Read in the thread too: a year of outcomes takes longer to parse than to find.
        return await self._run(
            lambda db: [
                ForecastError.model_validate_json(row[0]) for row in db.execute(sql, values)
            ]
        )

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._run_now, work)

    def _run_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._opened() as db:
            return work(db)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self._made:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, timeout=self._timeout_s)
            try:
                if not self._made:
                    log_ahead(db, self._timeout_s)
                    db.executescript(_SCHEMA)
                    _add_roles(db)
                    self._made = True
                db.execute("PRAGMA synchronous=NORMAL")
                with db:
                    yield db
            finally:
                db.close()
        except (sqlite3.Error, OSError) as exc:
            raise StoreUnavailable(f"the forecasts in {self._path} can't be used: {exc}") from exc


def _add_roles(db: sqlite3.Connection) -> None:
    """Give a file of before there were roles its column: what it holds are answers."""
    if "role" in {row[1] for row in db.execute("PRAGMA table_info(forecasts)")}:
        return
    try:
        db.execute("ALTER TABLE forecasts ADD COLUMN role TEXT NOT NULL DEFAULT 'champion'")
    except sqlite3.OperationalError as exc:
        # Another process may have added it since we looked.
        if "duplicate column" not in str(exc):
            raise


def _of(series: Series | None, *conditions: str) -> tuple[str, tuple[str | int, ...]]:
    wanted = (["series = ?"] if series else []) + list(conditions)
    where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
    return where, (series.key,) if series else ()


def _scored(row: tuple[str, str | None]) -> ScoredForecast:
    document, error = row
    return ScoredForecast(
        Forecast.model_validate_json(document),
        ForecastError.model_validate_json(error) if error else None,
    )
