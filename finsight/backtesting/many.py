"""The sets of a built-in strategy, tried one after another by one compiled loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from finsight.backtesting.candle_arrays import CandleArrays
from finsight.backtesting.compiled import compiled
from finsight.backtesting.conditions import codes_of, mark_set, numbers_of
from finsight.backtesting.curve import CURVE_ROWS
from finsight.backtesting.history import History
from finsight.backtesting.kernel import TALLY_COLUMNS, TRADE_FIELDS
from finsight.backtesting.orders import ACCOUNT_ROWS
from finsight.backtesting.parameter_sets import ParameterSets
from finsight.backtesting.simulate import Terms, simulate
from finsight.backtesting.strategies import BuiltInStrategy, Row, indicator_row

_SETS_A_PIECE = 128
_FEWEST_ROWS = 8

Mapped = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Many:
    """A built-in strategy over one series, ready to try its sets.

    sides: the signals' bits that the direction allows; shift: how many candles after its
    signal an order is executed.
    """

    candles: CandleArrays
    past: History
    strategy: BuiltInStrategy
    sides: int
    shift: int
    terms: Terms

    def tally(
        self, sets: ParameterSets, mapped: Mapped, threads: int, table_bytes: int
    ) -> np.ndarray:
        """Return every set's sums, a row a set.

        mapped: `map`, in so many `threads`. Each indicator is computed once for all sets that
        need it, as long as those of a stretch of sets fit in `table_bytes`.
        """
        numbers = numbers_of(self.strategy.conditions, sets.columns, len(sets))
        rows, places = self.strategy.rows_of(sets.columns, len(sets))
        tally = np.empty((len(sets), TALLY_COLUMNS))
        most = max(_FEWEST_ROWS, table_bytes // (8 * len(self.candles.close)))
        for stretch in _stretches(places, most):
            needed, local = np.unique(places[stretch], return_inverse=True)
            table = self._table([rows[row] for row in needed], mapped)
            self._try(
                table, local.reshape(places[stretch].shape), numbers[stretch], tally[stretch],
                mapped, threads,
            )  # fmt: skip
        return tally

    def _table(self, rows: list[Row], mapped: Mapped) -> np.ndarray:
        """The indicators, a row each, and last the closes: a condition may read them, too."""
        table = np.empty((len(rows) + 1, len(self.candles.close)))
        table[-1] = self.candles.close

        def compute(at: int) -> None:
            table[at] = indicator_row(self.candles, rows[at])

        _all(mapped(compute, range(len(rows))))
        return table

    def _try(
        self,
        table: np.ndarray,
        places: np.ndarray,
        numbers: np.ndarray,
        tally: np.ndarray,
        mapped: Mapped,
        threads: int,
    ) -> None:
        codes = codes_of(self.strategy.conditions, self.sides)
        places = np.column_stack([places, np.full(len(places), -1)])
        # Few enough sets at a time that all threads end together.
        size = max(1, min(_SETS_A_PIECE, len(places) // (4 * threads)))

        def try_from(at: int) -> None:
            sets = slice(at, at + size)
            tally_sets(
                self.past, table, codes, places[sets], numbers[sets], self.shift, self.terms,
                tally[sets],
            )  # fmt: skip

        _all(mapped(try_from, range(0, len(places), size)))


@compiled
def tally_sets(
    past: History,
    table: np.ndarray,
    codes: np.ndarray,
    places: np.ndarray,
    numbers: np.ndarray,
    shift: int,
    terms: Terms,
    tally: np.ndarray,
) -> None:
    """Signals, then the account, of every set; see `mark_set` and `simulate`."""
    candles = table.shape[1]
    events = np.empty(candles, dtype=np.uint8)
    words = events[: candles // 8 * 8].view(np.uint64)
    room = np.empty((2, candles))
    no_trades, no_equity = np.empty((0, len(TRADE_FIELDS))), np.empty(0)
    account, curve = np.empty(ACCOUNT_ROWS), np.empty(CURVE_ROWS)
    for one in range(len(places)):
        events[:] = 0
        mark_set(codes, numbers[one], places[one], table, shift, room, events)
        simulate(past, events, words, terms, tally[one], no_trades, no_equity, account, curve)


def _all(work: Iterable[None]) -> None:
    for _ in work:
        pass


def _stretches(places: np.ndarray, most: int) -> Iterator[slice]:
    """Cut the sets where one more would need more than `most` different rows at once."""
    start, width = 0, max(1, places.shape[1])
    while start < len(places):
        # Where each row is needed for the first time from here on.
        firsts = np.sort(np.unique(places[start:], return_index=True)[1])
        stop = len(places)
        if len(firsts) > most:
            stop = max(start + 1, start + int(firsts[most]) // width)
        yield slice(start, stop)
        start = stop
