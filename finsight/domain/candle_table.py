"""Many candles of one series as one Arrow table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa

from finsight.domain.candle import Candle
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import from_ms, to_ms

PRICES = ("open", "high", "low", "close")
SCHEMA = pa.schema(
    [pa.field("ts", pa.timestamp("ms", tz="UTC"), nullable=False)]
    + [pa.field(name, pa.float64(), nullable=False) for name in (*PRICES, "volume")]
)
_MICROSECONDS_FROM = 10**14  # in milliseconds this would be the year 5138


@dataclass(frozen=True, eq=False)
class CandleTable:
    """Candles of one series: opening times strictly rising, every value checked.

    Columns (shape: one row a candle):
        ts: opening time, `timestamp[ms, UTC]`.
        open, high, low, close: float64, quote currency per unit of base currency.
        volume: float64, units of base currency.

    Build it with `from_arrow`, `from_columns` or `from_candles`, which check;
    the bare constructor trusts its argument and is for tables that came from here.
    """

    arrow: pa.Table

    @classmethod
    def empty(cls) -> CandleTable:
        """No candles."""
        return cls(SCHEMA.empty_table())

    @classmethod
    def from_arrow(cls, table: pa.Table) -> CandleTable:
        """Check and normalise a table with columns `ts, open, high, low, close, volume`.

        `ts` may be any Arrow timestamp, or integers: UTC milliseconds or
        microseconds since 1970, told apart by their size. Further columns are dropped.

        Raises:
            InvalidInput: a column is missing, times are not strictly rising, or a
                value is impossible; the message names the first bad row.
        """
        missing = [name for name in SCHEMA.names if name not in table.column_names]
        if missing:
            raise InvalidInput(
                f"candles need the columns {', '.join(SCHEMA.names)}; missing: {', '.join(missing)}"
            )
        ts = table.column("ts")
        if pa.types.is_integer(ts.type):
            ts = pa.chunked_array([pa.array(epoch_ms(ts.to_numpy()))])
        elif not pa.types.is_timestamp(ts.type):
            raise InvalidInput(f"the column ts must hold times or integers, not {ts.type}")
        try:
            columns = [ts.cast(SCHEMA.field("ts").type, safe=False)] + [
                table.column(name).cast(pa.float64()) for name in SCHEMA.names[1:]
            ]
            normal = pa.Table.from_arrays(columns, schema=SCHEMA)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
            raise InvalidInput(f"the candles' columns are not numbers: {exc}") from exc
        checked = cls(normal)
        checked._check()
        return checked

    @classmethod
    def from_columns(
        cls,
        ts: np.ndarray,
        open: np.ndarray,
        high: np.ndarray,
        low: np.ndarray,
        close: np.ndarray,
        volume: np.ndarray,
    ) -> CandleTable:
        """Build from equal-length arrays; `ts` as in `from_arrow`. Raises: InvalidInput."""
        names = SCHEMA.names
        return cls.from_arrow(
            pa.table(dict(zip(names, (ts, open, high, low, close, volume), strict=True)))
        )

    @classmethod
    def from_candles(cls, candles: Sequence[Candle]) -> CandleTable:
        """Build from candles, sorted by the caller. Raises: InvalidInput."""
        if not candles:
            return cls.empty()
        rows = [c.model_dump() for c in candles]
        columns = {name: [row[name] for row in rows] for name in SCHEMA.names[1:]}
        ts = np.array([to_ms(c.opened_at) for c in candles], dtype=np.int64)
        return cls.from_arrow(pa.table({"ts": ts, **columns}))

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CandleTable) and self.arrow.equals(other.arrow)

    def __iter__(self) -> Iterator[Candle]:
        """Yield candles one by one: for the edges, not for bulk."""
        for row in self.arrow.to_pylist():
            yield Candle(opened_at=row.pop("ts"), **row)

    @property
    def ts_ms(self) -> np.ndarray:
        """Opening times as int64 UTC milliseconds, shape (rows,)."""
        times: np.ndarray = self.arrow.column("ts").cast(pa.int64()).to_numpy()
        return times

    def column(self, name: str) -> np.ndarray:
        """One of open, high, low, close, volume as float64, shape (rows,). May be read-only."""
        values: np.ndarray = self.arrow.column(name).to_numpy()
        return values

    @property
    def first_opened_at(self) -> datetime | None:
        """When the oldest candle opened, or None when there is none."""
        return from_ms(int(self.ts_ms[0])) if len(self) else None

    @property
    def last_opened_at(self) -> datetime | None:
        """When the newest candle opened, or None when there is none."""
        return from_ms(int(self.ts_ms[-1])) if len(self) else None

    def between(self, start: datetime, end: datetime) -> CandleTable:
        """Return the candles with `start <= opening time < end`, without copying."""
        low, high = np.searchsorted(self.ts_ms, [to_ms(start), to_ms(end)])
        return CandleTable(self.arrow.slice(int(low), int(high - low)))

    def tail(self, rows: int) -> CandleTable:
        """Return the newest `rows` candles, or all when there are fewer, without copying."""
        return CandleTable(self.arrow.slice(max(0, len(self) - rows)))

    def _check(self) -> None:
        for name in SCHEMA.names:
            if self.arrow.column(name).null_count:
                raise InvalidInput(f"the column {name} has empty cells; every candle needs a value")
        ts = self.ts_ms
        _refuse("is not after the one before it", ts, np.flatnonzero(np.diff(ts) <= 0) + 1)
        values = {name: self.column(name) for name in SCHEMA.names[1:]}
        for name in PRICES:
            bad = ~(np.isfinite(values[name]) & (values[name] > 0))
            _refuse(f"has no positive, finite {name}", ts, np.flatnonzero(bad))
        bad = ~(np.isfinite(values["volume"]) & (values["volume"] >= 0))
        _refuse("has no finite volume of zero or more", ts, np.flatnonzero(bad))
        others = np.maximum(values["open"], values["close"])
        bad = values["high"] < np.maximum(others, values["low"])
        _refuse("has a high below another of its prices", ts, np.flatnonzero(bad))
        bad = values["low"] > np.minimum(values["open"], values["close"])
        _refuse("has a low above another of its prices", ts, np.flatnonzero(bad))


def merge(older: CandleTable, newer: CandleTable) -> CandleTable:
    """Return the candles of both; where both have one, that of `newer`.

    Only the stretch of `older` that `newer` spans is sorted and copied.
    """
    if not len(older) or not len(newer):
        return newer if len(newer) else older
    ts, first, last = older.ts_ms, newer.ts_ms[0], newer.ts_ms[-1]
    low, high = int(np.searchsorted(ts, first)), int(np.searchsorted(ts, last, side="right"))
    spanned = newer.arrow
    if low < high:
        both = pa.concat_tables([older.arrow.slice(low, high - low), newer.arrow])
        both_ts = both.column("ts").cast(pa.int64()).to_numpy()
        order = np.argsort(both_ts, kind="stable")
        ordered = both_ts[order]
        last_of_its_time = np.append(ordered[1:] != ordered[:-1], True)
        spanned = both.take(pa.array(order[last_of_its_time]))
    return CandleTable(
        pa.concat_tables([older.arrow.slice(0, low), spanned, older.arrow.slice(high)])
    )


def merge_all(oldest_first: Sequence[CandleTable]) -> CandleTable:
    """Return the candles of all; where several have one, that of the last in the list.

    Tables whose spans don't overlap are put in a row without copying.
    """
    tables = [table for table in oldest_first if len(table)]
    if len(tables) < 2:
        return tables[0] if tables else CandleTable.empty()
    spans = [(int(table.ts_ms[0]), int(table.ts_ms[-1])) for table in tables]
    by_time = sorted(range(len(tables)), key=lambda i: spans[i])
    if all(spans[a][1] < spans[b][0] for a, b in pairwise(by_time)):
        return CandleTable(pa.concat_tables([tables[i].arrow for i in by_time]))
    return reduce(merge, tables)


def epoch_ms(ts: np.ndarray) -> np.ndarray:
    """Turn integer UTC milliseconds or microseconds since 1970 into milliseconds.

    Binance's files switched to microseconds on 2025-01-01. The two can't be
    confused: 10^14 is 1973 in microseconds and the year 5138 in milliseconds.
    """
    ts = np.asarray(ts, dtype=np.int64)
    return np.where(ts >= _MICROSECONDS_FROM, ts // 1000, ts)


def _refuse(what: str, ts: np.ndarray, rows: np.ndarray) -> None:
    if len(rows):
        row = int(rows[0])
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise InvalidInput(f"candle {row}, of {from_ms(int(ts[row])).isoformat()}, {what}{more}")
