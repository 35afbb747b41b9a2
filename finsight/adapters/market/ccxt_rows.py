"""Turns the rows that ccxt returns into candles, by columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from finsight.domain.candle_table import CandleTable, epoch_ms
from finsight.domain.errors import SourceUnavailable


@dataclass(frozen=True)
class RowLayout:
    """Where a venue's own rows hold time, open, high, low, close and volume.

    `below` is the key under which its answer holds the rows, None when it is the rows.
    """

    places: tuple[int, ...] | tuple[str, ...]
    ms_a_tick: int
    below: str | None = None

    def is_answer(self, answer: Any) -> bool:
        """Whether `answer` has a place for rows, so that none there means there are none."""
        if self.below is None:
            return isinstance(answer, list)
        return isinstance(answer, dict) and isinstance(answer.get(self.below), (list, dict))


_BINANCE = RowLayout((0, 1, 2, 3, 4, 5), ms_a_tick=1)
LAYOUTS: Mapping[str, RowLayout] = {
    "binance": _BINANCE,
    "binanceus": _BINANCE,
    "binanceusdm": _BINANCE,
    "binancecoinm": _BINANCE,
    "coinbase": RowLayout(
        ("start", "open", "high", "low", "close", "volume"), 1_000, below="candles"
    ),
    "coinbaseexchange": RowLayout((0, 3, 2, 1, 4, 5), ms_a_tick=1_000),
    "kraken": RowLayout((0, 1, 2, 3, 4, 6), ms_a_tick=1_000, below="result"),
}


def read_columns(rows: Sequence[Any], layout: RowLayout) -> np.ndarray:
    """Read a venue's rows at once, shape (rows, 6).

    ccxt reads each number of each row by some twenty calls, more than half of the time
    that a backfill takes; and it turns rows it can't read into no rows.

    Raises:
        SourceUnavailable: the rows have another form.
    """
    table = np.empty((6, len(rows)))
    if len(rows):
        try:
            columns = zip(*map(itemgetter(*layout.places), rows), strict=True)
            for place, column in zip(table, columns, strict=True):
                place[:] = np.fromiter(map(float, column), np.float64, len(column))
        except (TypeError, ValueError, KeyError, IndexError) as exc:
            raise SourceUnavailable(f"the candles have a form that can't be read: {exc!r}") from exc
    table[0] *= layout.ms_a_tick
    return table.T


@dataclass(frozen=True)
class CheckedRows:
    """Rows sorted, each time once. `bad_ms`: opening times of rows that can't be true."""

    candles: CandleTable
    bad_ms: np.ndarray
    given: int


def check_rows(
    rows: Sequence[Sequence[float | None]] | np.ndarray, start_ms: int, end_ms: int
) -> CheckedRows:
    """Read rows `[time, open, high, low, close, volume]` opening in `[start_ms, end_ms)`.

    Times are milliseconds or microseconds. Rows in disorder are sorted; of two with
    the same time the later in the answer counts. A row whose prices are missing, not
    positive, or outside its own high and low is left out and named in `bad_ms`.

    Raises:
        SourceUnavailable: the rows are not rows of numbers.
    """
    if len(rows) == 0:
        return CheckedRows(CandleTable.empty(), np.empty(0, dtype=np.int64), 0)
    try:
        table = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise SourceUnavailable(f"the candles are not rows of numbers: {exc}") from exc
    if table.ndim != 2 or table.shape[1] < 6 or not np.isfinite(table[:, 0]).all():
        raise SourceUnavailable("the candles are not rows of a time and five numbers")
    ts = epoch_ms(table[:, 0].astype(np.int64))
    if (np.diff(ts) <= 0).any():
        order = np.argsort(ts, kind="stable")
        order = order[np.append(np.diff(ts[order]) > 0, True)]
        ts, table = ts[order], table[order]
    inside = (ts >= start_ms) & (ts < end_ms)
    open_, high, low, close, volume = table[:, 1:6].T
    # Comparisons with a missing value (NaN) are false, so these also say "is there".
    sound = (low > 0) & (high < np.inf) & (volume >= 0) & (volume < np.inf)
    sound &= (np.maximum(open_, close) <= high) & (np.minimum(open_, close) >= low)
    keep = inside & sound
    columns = [np.ascontiguousarray(column) for column in (ts, open_, high, low, close, volume)]
    if not keep.all():
        columns = [column[keep] for column in columns]
    candles = CandleTable.from_columns(*columns)
    return CheckedRows(candles, ts[inside & ~sound], len(rows))
