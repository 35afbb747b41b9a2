"""SQLite's write-ahead log: readers don't wait for a writer, nor a writer for them."""

from __future__ import annotations

import sqlite3
import time


def log_ahead(db: sqlite3.Connection, busy_s: float) -> None:
    """Switch to write-ahead logging, waiting up to `busy_s` for those who open the file too.

    SQLite doesn't wait its own busy time for this one change: of several processes that
    start on a new file together, some would be told that it is locked.

    Raises: sqlite3.OperationalError, when it is locked for longer, or at once for anything else.
    """
    give_up_at = time.monotonic() + busy_s
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            # The lowest byte is the kind of error; the others say more of it.
            locked = exc.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not locked or time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)
        else:
            return
