"""Many parameter sets over one series, in threads: signals, then the kernel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from finsight.backtesting.candle_arrays import (
    CandleArrays,
    candles_a_year,
)
from finsight.backtesting.curve import CURVE_ROWS
from finsight.backtesting.history import history
from finsight.backtesting.kernel import (
    ALL_IN,
    FRACTION,
    TALLY_COLUMNS,
    TRADE_FIELDS,
    TRADES,
    UNITS,
    VALUE,
)
from finsight.backtesting.orders import ACCOUNT_ROWS
from finsight.backtesting.parameter_sets import ParameterSets
from finsight.backtesting.simulate import simulate
from finsight.backtesting.sizing import volatility_fractions
from finsight.backtesting.strategies import Row, Strategy, Values, indicator_row
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Direction, Execution, Sizing, Stops

TABLE_BYTES = 256 * 2**20
_SETS_A_TASK = 32

_SIZING_KINDS = {
    "all_in": ALL_IN,
    "fraction": FRACTION,
    "value": VALUE,
    "units": UNITS,
    "volatility": FRACTION,
}


@dataclass(frozen=True)
class Rules:
    """How signals become trades: the same for every parameter set of a sweep."""

    execution: Execution = Execution.NEXT_OPEN
    direction: Direction = Direction.LONG
    costs: Costs = field(default_factory=Costs)
    stops: Stops = field(default_factory=Stops)
    sizing: Sizing = field(default_factory=Sizing)
    late: int = 0
    """Candles by which every order is delayed, to see what depends on being first."""

    @property
    def shift(self) -> int:
        """How many candles after its signal an order is executed."""
        return (1 if self.execution is Execution.NEXT_OPEN else 0) + self.late


class Tallied(NamedTuple):
    """What the kernel made of each set: a row of sums (nan where it failed), and why it failed."""

    table: np.ndarray
    failures: dict[int, str]


class Recorded(NamedTuple):
    """One set in full: its sums, its trades (a row a trade, columns TRADE_FIELDS), its equity."""

    tally: np.ndarray
    trades: np.ndarray
    equity: np.ndarray


class Engine:
    """One series, one strategy, one set of rules; ready to try parameter sets."""

    def __init__(self, candles: CandleArrays, strategy: Strategy, rules: Rules) -> None:
        self.candles = candles
        self.strategy = strategy
        self.rules = rules
        self._history = history(candles)
        costs, stops, sizing = rules.costs, rules.stops, rules.sizing
        funding = costs.funding / candles_a_year(candles)
        self._costs = np.array(
            [
                costs.fee,
                costs.fixed_fee,
                costs.smallest_order,
                costs.slippage,
                funding,
                costs.impact,
            ]
        )
        wanted = (stops.stop_loss, stops.take_profit, stops.trailing_stop)
        self._stops = np.array([np.nan if stop is None else stop for stop in wanted])
        self._sizing = np.array([_SIZING_KINDS[sizing.kind], sizing.amount, sizing.cash])
        self._fractions = np.empty(0)
        if sizing.kind == "volatility":
            self._fractions = volatility_fractions(candles, sizing, rules.shift)

    def tally(
        self, sets: ParameterSets, threads: int | None = None, table_bytes: int = TABLE_BYTES
    ) -> Tallied:
        """Try every set. Indicator tables are shared, and never larger than `table_bytes`.

        A user's strategy that fails on a set leaves that set without figures; the others
        go on. Raises: InvalidInput, when a built-in strategy refuses its parameters.
        """
        table = np.full((len(sets), TALLY_COLUMNS), np.nan)
        failures: dict[int, str] = {}
        workers = max(1, threads or os.cpu_count() or 1)
        with _mapping(workers) as side_by_side:
            for chunk, needed in self._chunks(sets, table_bytes):
                computed = side_by_side(partial(indicator_row, self.candles), needed)
                rows = dict(zip(needed, computed, strict=True))
                tasks = [
                    range(start, min(start + _SETS_A_TASK, chunk.stop))
                    for start in range(chunk.start, chunk.stop, _SETS_A_TASK)
                ]
                for failed in side_by_side(partial(self._tally_some, sets, rows, table), tasks):
                    failures |= failed
        return Tallied(table, failures)

    def record(self, values: Values) -> Recorded:
        """Run one set and keep its trades and its value at every close."""
        rows = [indicator_row(self.candles, row) for row in self.strategy.rows(values)]
        return self.record_events(self.events(values, rows))

    def record_events(self, events: np.ndarray) -> Recorded:
        """Run an account on signals that are already there, in full."""
        tally, none = np.empty(TALLY_COLUMNS), np.empty((0, len(TRADE_FIELDS)))
        equity = np.empty(len(events))
        self._simulate(events, tally, none, equity)
        trades = np.empty((int(tally[TRADES]), len(TRADE_FIELDS)))
        self._simulate(events, tally, trades, equity)
        return Recorded(tally, trades, equity)

    def events(self, values: Values, rows: Sequence[np.ndarray]) -> np.ndarray:
        """The signals' bits, each at the candle that executes it."""
        events = np.zeros(len(self.candles.close), dtype=np.uint8)
        self._mark(values, rows, events)
        return events

    def _chunks(self, sets: ParameterSets, table_bytes: int) -> Iterator[tuple[range, list[Row]]]:
        """Cut the sets so that each chunk's indicator rows fit in `table_bytes`.

        What a set asks for is made again when it is tried: thousands of small objects that
        are kept would set off the garbage collector.
        """
        most = max(8, table_bytes // (8 * len(self.candles.close)))
        start, needed = 0, dict[Row, None]()
        for at, values in enumerate(sets.each()):
            keys = self.strategy.rows(values)
            new = [key for key in keys if key not in needed]
            if at > start and len(needed) + len(new) > most:
                yield range(start, at), list(needed)
                start, needed = at, dict.fromkeys(keys)
            elif new:
                needed.update(dict.fromkeys(new))
        yield range(start, len(sets)), list(needed)

    def _tally_some(
        self, sets: ParameterSets, rows: dict[Row, np.ndarray], table: np.ndarray, some: range
    ) -> dict[int, str]:
        no_trades, no_equity = np.empty((0, len(TRADE_FIELDS))), np.empty(0)
        failures: dict[int, str] = {}
        events = np.empty(len(self.candles.close), dtype=np.uint8)
        for at, values in zip(some, sets.block(some.start, some.stop).each(), strict=True):
            events[:] = 0
            try:
                self._mark(values, [rows[key] for key in self.strategy.rows(values)], events)
            except InvalidInput as exc:
                failures[at] = str(exc)
                continue
            self._simulate(events, table[at], no_trades, no_equity)
        return failures

    def _mark(self, values: Values, rows: Sequence[np.ndarray], events: np.ndarray) -> None:
        rules = self.rules
        self.strategy.mark(self.candles, rows, values, rules.direction, rules.shift, events)

    def _simulate(
        self, events: np.ndarray, tally: np.ndarray, trades: np.ndarray, equity: np.ndarray
    ) -> None:
        simulate(
            self._history,
            events,
            events[: len(events) // 8 * 8].view(np.uint64),
            self.rules.execution is Execution.NEXT_OPEN,
            self._costs,
            self._stops,
            self._sizing,
            self._fractions,
            tally,
            trades,
            equity,
            np.empty(ACCOUNT_ROWS),
            np.empty(CURVE_ROWS),
        )


@contextmanager
def _mapping(threads: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map` in so many threads; one is this one, which need not be woken for every piece."""
    if threads == 1:
        yield map
        return
    with ThreadPoolExecutor(threads) as pool:
        yield pool.map
