"""Recorded candles of several venues, shown as they looked at a given moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from finsight.domain.candle_table import epoch_ms
from finsight.domain.timeframe import Timeframe, to_ms
from finsight.ports.clock import Clock

_BLOCK_ROWS = 1_000

Columns = tuple[np.ndarray, ...]
"""Opening times (int64 UTC ms), then open, high, low, close, volume (float64)."""

RowWriter = Callable[[Columns, Timeframe], list[bytes]]
"""Turns candles into one venue's JSON, one element a candle."""


@dataclass
class Recording:
    """One series. Rows are written as JSON once, in blocks, and kept: a backfill
    of a million candles should wait for the client, not for this server."""

    timeframe: Timeframe
    columns: Columns
    _written: dict[tuple[RowWriter, int], list[bytes]] = field(default_factory=dict)

    @property
    def opened_ms(self) -> np.ndarray:
        return self.columns[0]

    def rows_between(self, start_ms: int, end_ms: int, clock: Clock) -> tuple[int, int]:
        """Return the row numbers `[low, high)` opening in `[start_ms, end_ms)` by now.

        The row that is still open at the clock's time is included, as venues do.
        """
        visible_end = min(end_ms, to_ms(clock.now()) + 1)
        low, high = np.searchsorted(self.opened_ms, [start_ms, visible_end])
        return int(low), max(int(low), int(high))

    def write(self, low: int, high: int, writer: RowWriter, clock: Clock) -> list[bytes]:
        """Return rows `[low, high)` as JSON elements, oldest first."""
        rows: list[bytes] = []
        for block in range(low // _BLOCK_ROWS, (max(low, high - 1)) // _BLOCK_ROWS + 1):
            first = block * _BLOCK_ROWS
            rows += self._block(block, writer)[max(0, low - first) : high - first]
        rows = rows[: high - low]
        if rows and self._is_open(high - 1, clock):
            rows[-1] = writer(self._so_far(high - 1), self.timeframe)[0]
        return rows

    def _block(self, block: int, writer: RowWriter) -> list[bytes]:
        key = (writer, block)
        if key not in self._written:
            part = slice(block * _BLOCK_ROWS, (block + 1) * _BLOCK_ROWS)
            columns = tuple(column[part] for column in self.columns)
            self._written[key] = writer(columns, self.timeframe)
        return self._written[key]

    def _is_open(self, row: int, clock: Clock) -> bool:
        closes_ms = int(self.timeframe.next_ms(self.opened_ms[row : row + 1])[0])
        return closes_ms > to_ms(clock.now())

    def _so_far(self, row: int) -> Columns:
        # A recording knows only how the candle ended. Its opening price is all of it
        # that had surely happened by now; the rest would tell the future.
        opened, price = self.opened_ms[row : row + 1], self.columns[1][row : row + 1]
        return (opened, price, price, price, price, np.zeros(1))


class RecordedCandles:
    """All recordings below a folder laid out `<venue>/<BASE-QUOTE>/<timeframe>.parquet`.

    A file has the columns `ts` (UTC milliseconds or an Arrow timestamp), `open`,
    `high`, `low`, `close`, `volume`. Files are read when first asked for.
    """

    def __init__(self, folder: Path) -> None:
        self._files: dict[tuple[str, str, Timeframe], Path] = {}
        self._read: dict[tuple[str, str, Timeframe], Recording] = {}
        known = {timeframe.value for timeframe in Timeframe}
        for path in sorted(folder.glob("*/*/*.parquet")):
            if path.stem in known:
                symbol = path.parent.name.replace("-", "/")
                self._files[path.parents[1].name, symbol, Timeframe(path.stem)] = path

    def symbols(self, venue: str) -> list[str]:
        """Return the venue's symbols, sorted: 'BTC/USDT'."""
        return sorted({symbol for of, symbol, _ in self._files if of == venue})

    def find(self, venue: str, symbol: str, timeframe: Timeframe) -> Recording | None:
        """Return one series, or None when it was not recorded."""
        key = (venue, symbol, timeframe)
        if key not in self._read:
            if key not in self._files:
                return None
            self._read[key] = Recording(timeframe, _read_columns(self._files[key]))
        return self._read[key]


def plain(values: np.ndarray) -> Sequence[str]:
    """Write numbers without exponents or trailing zeros, as venues do: '43437.5'."""
    return [f"{value:.8f}".rstrip("0").rstrip(".") for value in values.tolist()]


def _read_columns(path: Path) -> Columns:
    table = pq.read_table(path)
    ts = table.column("ts")
    opened = ts.cast("timestamp[ms, UTC]").cast("int64") if "timestamp" in str(ts.type) else ts
    names = ("open", "high", "low", "close", "volume")
    prices = tuple(table.column(name).to_numpy().astype(np.float64) for name in names)
    return (epoch_ms(opened.to_numpy()), *prices)
