"""Short candles into longer ones, without inventing any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.gaps import find_gaps
from finsight.domain.interval import Interval
from finsight.domain.timeframe import Timeframe, from_ms


@dataclass(frozen=True, eq=False)
class Resampled:
    """Longer candles, and what each was made of.

    Columns (shape: one row a candle of `candles`):
        present: how many source candles it was made of.
        expected: how many there would be if every one existed.
        complete: whether none is missing, or every missing one was asked for and
            nobody had traded.
    """

    candles: CandleTable
    present: np.ndarray
    expected: np.ndarray
    complete: np.ndarray

    def only_complete(self) -> CandleTable:
        """The candles that are final."""
        return CandleTable(self.candles.arrow.filter(self.complete))


def can_resample(source: Timeframe, target: Timeframe) -> bool:
    """Whether candles of `source` add up to candles of `target`, or are the same."""
    if source is target:
        return True
    if source.is_calendar:
        return False
    if target.is_calendar:
        return source.duration_ms <= Timeframe.D1.duration_ms
    return target.duration_ms % source.duration_ms == 0


def resample(
    table: CandleTable,
    source: Timeframe,
    target: Timeframe,
    coverage: Sequence[Interval] = (),
) -> Resampled:
    """Put candles of `source` together into candles of the longer `target`.

    A target candle without any source candle is left out; one that lacks some is
    made of those there are and marked incomplete. `coverage` is what was asked
    for and answered: it tells minutes without trades, which belong to a complete
    candle, from minutes that nobody fetched.

    Raises:
        InvalidInput: `target` is not longer than `source`, or not made of whole ones.
    """
    if source is target or not can_resample(source, target):
        raise InvalidInput(
            f"{source} candles can't be put together into {target} candles; "
            f"expected a longer timeframe that {source} divides"
        )
    if not len(table):
        none = np.zeros(0, dtype=np.int64)
        return Resampled(table, none, none, none.astype(bool))
    buckets = target.floor_ms(table.ts_ms)
    starts = np.flatnonzero(np.diff(buckets, prepend=buckets[0] - 1))
    last_rows = np.append(starts[1:], len(buckets)) - 1
    opened, closed = buckets[starts], target.next_ms(buckets[starts])
    candles = CandleTable.from_columns(
        opened,
        table.column("open")[starts],
        np.maximum.reduceat(table.column("high"), starts),
        np.minimum.reduceat(table.column("low"), starts),
        table.column("close")[last_rows],
        np.add.reduceat(table.column("volume"), starts),
    )
    return Resampled(
        candles,
        present=np.diff(starts, append=len(buckets)),
        expected=(closed - opened) // source.duration_ms,
        complete=~_lacks_candles(table, source, opened, closed, coverage),
    )


def _lacks_candles(
    table: CandleTable,
    source: Timeframe,
    opened: np.ndarray,
    closed: np.ndarray,
    coverage: Sequence[Interval],
) -> np.ndarray:
    """Which buckets `[opened, closed)` contain an opening time that nobody asked for."""
    span = from_ms(int(opened[0])), from_ms(int(closed[-1]))
    report = find_gaps(source, table.ts_ms, coverage, *span)
    unknown = ~report.answered
    # Each gap touches the buckets from the first that closes after its start to the last
    # that opens before its end: count how many gaps begin and stop at each bucket.
    first = np.searchsorted(closed, report.start_ms[unknown], side="right")
    stop = np.searchsorted(opened, report.end_ms[unknown], side="left")
    touched = np.zeros(len(opened) + 1, dtype=np.int64)
    np.add.at(touched, first, 1)
    np.add.at(touched, np.maximum(first, stop), -1)
    lacking: np.ndarray = np.cumsum(touched[:-1]) > 0
    return lacking
