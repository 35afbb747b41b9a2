"""Turns the rows that ccxt returns into candles, by columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finsight.domain.candle_table import CandleTable, epoch_ms
from finsight.domain.errors import SourceUnavailable


@dataclass(frozen=True)
class CheckedRows:
    """Rows sorted, each time once. `bad_ms`: opening times of rows that can't be true."""

    candles: CandleTable
    bad_ms: np.ndarray
    given: int


def check_rows(rows: Sequence[Sequence[float | None]], start_ms: int, end_ms: int) -> CheckedRows:
    """Read rows `[time, open, high, low, close, volume]` opening in `[start_ms, end_ms)`.

    Times are milliseconds or microseconds. Rows in disorder are sorted; of two with
    the same time the later in the answer counts. A row whose prices are missing, not
    positive, or outside its own high and low is left out and named in `bad_ms`.

    Raises:
        SourceUnavailable: the rows are not rows of numbers.
    """
    if not rows:
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
    columns = (ts, open_, high, low, close, volume)
    if not keep.all():
        columns = tuple(column[keep] for column in columns)
    candles = CandleTable.from_columns(*(np.ascontiguousarray(column) for column in columns))
    return CheckedRows(candles, ts[inside & ~sound], len(rows))
