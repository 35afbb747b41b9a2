"""Backtests in a folder: records in one SQLite file, tables and candles as Parquet."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from finsight.domain.backtest_record import BacktestRecord
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import NotFound, StoreUnavailable
from finsight.domain.timeframe import to_ms

_SCHEMA = """
CREATE TABLE IF NOT EXISTS backtests (
    id TEXT PRIMARY KEY,
    made_ms INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS newest ON backtests (made_ms);
"""
_BUSY_S = 20.0


class ParquetBacktestStore:
    """Implements `ports.backtests.BacktestStore`.

    A backtest is there once its row is: tables and candles are written before it, each
    file under another name first. What a crash leaves behind is never read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def save(
        self,
        record: BacktestRecord,
        tables: Mapping[str, pa.Table],
        candles: Mapping[str, CandleTable],
    ) -> None:
        await asyncio.to_thread(self._save, record, tables, candles)

    async def get(self, backtest_id: str) -> BacktestRecord:
        return await asyncio.to_thread(self._get, backtest_id)

    async def table(self, backtest_id: str, name: str) -> pa.Table:
        record = await self.get(backtest_id)
        if name not in record.tables:
            kept = ", ".join(record.tables) or "none"
            raise NotFound(f"the backtest {record.id} has no table '{name}'; kept are: {kept}")
        return await asyncio.to_thread(self._read, self._folder / record.id / f"{name}.parquet")

    async def candles(self, backtest_id: str) -> dict[str, CandleTable]:
        record = await self.get(backtest_id)
        return {
            series: CandleTable.from_arrow(
                await asyncio.to_thread(self._read, self._candles(fingerprint))
            )
            for series, fingerprint in record.fingerprints.items()
        }

    async def recent(self, limit: int, offset: int = 0) -> list[BacktestRecord]:
        return await asyncio.to_thread(self._recent, limit, offset)

    async def delete(self, backtest_id: str) -> None:
        await asyncio.to_thread(self._delete, backtest_id)

    def _save(
        self,
        record: BacktestRecord,
        tables: Mapping[str, pa.Table],
        candles: Mapping[str, CandleTable],
    ) -> None:
        kept = record.model_copy(update={"tables": tuple(tables)})
        row = (record.id, to_ms(record.made_at), kept.model_dump_json())
        with self._opened() as db:
            for name, table in tables.items():
                _write(table, self._folder / record.id / f"{name}.parquet")
            for series, fingerprint in record.fingerprints.items():
                if not self._candles(fingerprint).exists():
                    _write(candles[series].arrow, self._candles(fingerprint))
            db.execute("INSERT OR REPLACE INTO backtests VALUES (?, ?, ?)", row)

    def _get(self, backtest_id: str) -> BacktestRecord:
        with self._opened() as db:
            sql = "SELECT document FROM backtests WHERE id = ?"
            row = db.execute(sql, (backtest_id,)).fetchone()
            if row is None:
                sql = "SELECT id FROM backtests ORDER BY made_ms DESC LIMIT 1000"
                known = [found for (found,) in db.execute(sql)]
        if row is None:
            near = get_close_matches(backtest_id, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise NotFound(f"there is no backtest '{backtest_id}'{meant}")
        return _parsed(row[0])

    def _delete(self, backtest_id: str) -> None:
        record = self._get(backtest_id)
        with self._opened() as db:
            # The row first: what a crash leaves of the files is never read.
            db.execute("DELETE FROM backtests WHERE id = ?", (record.id,))
            documents = [row[0] for row in db.execute("SELECT document FROM backtests")]
            others = {
                fingerprint
                for document in documents
                for fingerprint in _parsed(document).fingerprints.values()
            }
        shutil.rmtree(self._folder / record.id, ignore_errors=True)
        for fingerprint in set(record.fingerprints.values()) - others:
            self._candles(fingerprint).unlink(missing_ok=True)

    def _recent(self, limit: int, offset: int) -> list[BacktestRecord]:
        with self._opened() as db:
            sql = "SELECT document FROM backtests ORDER BY made_ms DESC, id LIMIT ? OFFSET ?"
            rows = db.execute(sql, (limit, offset)).fetchall()
        return [_parsed(row[0]) for row in rows]

    def _candles(self, fingerprint: str) -> Path:
        return self._folder / "candles" / f"{fingerprint}.parquet"

    def _read(self, path: Path) -> pa.Table:
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException) as exc:
            raise StoreUnavailable(f"{path} of the stored backtests can't be read: {exc}") from exc

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._folder / "index.sqlite", timeout=_BUSY_S)
            try:
                db.executescript(_SCHEMA)
                with db:
                    yield db
            finally:
                db.close()
        except (sqlite3.Error, OSError, pa.ArrowException) as exc:
            raise StoreUnavailable(f"the backtests in {self._folder} can't be used: {exc}") from exc


def _parsed(document: str) -> BacktestRecord:
    return BacktestRecord.model_validate_json(document)


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.writing")
    pq.write_table(table, beside, compression="zstd")
    beside.replace(path)
