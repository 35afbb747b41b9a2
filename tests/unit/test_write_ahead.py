"""Several may open a new SQLite file at once; what is not a matter of waiting is said at once."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from finsight.adapters import write_ahead
from finsight.adapters.write_ahead import log_ahead


def test_everybody_who_opens_a_new_file_at_once_gets_it(tmp_path):
    def open_and_write(path):
        with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as db:
            log_ahead(db, 20)
            db.execute("CREATE TABLE IF NOT EXISTS seen (number INTEGER)")
            return db.execute("PRAGMA journal_mode").fetchone()[0]

    with ThreadPoolExecutor(8) as pool:
        for again in range(40):
            paths = [tmp_path / f"{again}.sqlite"] * 8
            assert set(pool.map(open_and_write, paths)) == {"wal"}


def test_a_file_that_is_not_to_be_written_is_said_at_once(tmp_path, monkeypatch):
    path = tmp_path / "kept.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE seen (number INTEGER)")
    monkeypatch.setattr(write_ahead.time, "sleep", lambda _: pytest.fail("it waited"))
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        log_ahead(db, 60)
