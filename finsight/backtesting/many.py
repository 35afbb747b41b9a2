"""The sets of a built-in strategy, tried one after another by one compiled loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from finsight.backtesting.candle_arrays import CandleArrays
from finsight.backtesting.compiled import compiled
from finsight.backtesting.conditions import candles_at_once, codes_of, mark, numbers_of
from finsight.backtesting.curve import CURVE_ROWS
from finsight.backtesting.history import History
from finsight.backtesting.kernel import TALLY_COLUMNS, TRADE_FIELDS
from finsight.backtesting.marks import AT_ONCE
from finsight.backtesting.memory import LEAST_ROWS
from finsight.backtesting.orders import ACCOUNT_ROWS
from finsight.backtesting.parameter_sets import ParameterSets
from finsight.backtesting.simulate import Terms, simulate
from finsight.backtesting.strategies import BuiltInStrategy, Row, indicator_row

_SIDE = 4
"""Neighbouring values of each of two indicators, in sets that are tried together."""
_SIGNAL_BYTES = 4 << 20
"""Of signals, a byte a candle, that are there at once in each thread."""
_SETS_A_PIECE = 64
"""Between two steps back to Python."""

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
        most = max(LEAST_ROWS, table_bytes // (8 * len(self.candles.close)))
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
        conditions, candles = self.strategy.conditions, table.shape[1]
        codes, at_once = codes_of(conditions, self.sides), candles_at_once(conditions, candles)
        together = max(1, min(_SIDE * _SIDE, _SIGNAL_BYTES // candles))
        order = _by_neighbourhood(places)
        places = np.column_stack([places, np.full(len(places), -1)])
        # Few enough sets at a time that all threads end together.
        size = max(1, min(_SETS_A_PIECE, len(places) // (4 * threads)))

        def try_from(at: int) -> None:
            sets = order[at : at + size]
            sums = np.empty((len(sets), TALLY_COLUMNS))
            tally_sets(
                self.past, table, codes, places[sets], numbers[sets], self.shift, self.terms,
                together, at_once, sums,
            )  # fmt: skip
            tally[sets] = sums

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
    together: int,
    at_once: int,
    tally: np.ndarray,
) -> None:
    """Signals, then the account, of every set; see `mark` and `simulate`.

    The signals of sets that are tried together are read off a stretch of candles before the
    next one: they share indicators, and a stretch of these stays in the processor's cache.
    """
    sets, candles = len(places), table.shape[1]
    events = np.empty((together, candles), dtype=np.uint8)
    before = np.empty((together, len(codes), 2), dtype=np.uint8)
    room, sides = np.empty((2, at_once)), np.empty(AT_ONCE, dtype=np.uint8)
    no_trades, no_equity = np.empty((0, len(TRADE_FIELDS))), np.empty(0)
    account, curve = np.empty(ACCOUNT_ROWS), np.empty(CURVE_ROWS)
    for start in range(0, sets, together):
        some = range(min(together, sets - start))
        events[:], before[:] = 0, 0
        for first in range(0, candles, at_once):
            stop = min(first + at_once, candles)
            for one in some:
                mark(
                    first, stop, codes, numbers[start + one], places[start + one], table, shift,
                    before[one], room, sides, events[one],
                )  # fmt: skip
        for one in some:
            own, sums = events[one], tally[start + one]
            words = own[: candles // 8 * 8].view(np.uint64)
            simulate(past, own, words, terms, sums, no_trades, no_equity, account, curve)


def _by_neighbourhood(places: np.ndarray) -> np.ndarray:
    """Order the sets so that any few that follow each other need few indicators."""
    if places.shape[1] < 2:
        return np.arange(len(places))
    return np.lexsort([column // _SIDE for column in reversed(places.T)])


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
