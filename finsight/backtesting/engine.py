"""Many parameter sets over one series, in threads: signals, then the kernel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
from finsight.backtesting.many import Many
from finsight.backtesting.orders import ACCOUNT_ROWS
from finsight.backtesting.parameter_sets import ParameterSets
from finsight.backtesting.simulate import Terms, simulate
from finsight.backtesting.sizing import volatility_fractions
from finsight.backtesting.strategies import SIDES, BuiltInStrategy, Strategy, Values, indicator_row
from finsight.backtesting.user_loop import Loop, loop_around
from finsight.backtesting.user_strategy import UserStrategy
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Direction, Execution, Sizing, Stops

TABLE_BYTES = 256 * 2**20
_SETS_A_TASK = 32
_WORTH_COMPILING = 512
"""Sets of a user's strategy for which a loop is compiled around it: some two seconds."""

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
        self._terms = terms_of(candles, rules)

    def tally(
        self, sets: ParameterSets, threads: int | None = None, table_bytes: int = TABLE_BYTES
    ) -> Tallied:
        """Try every set. Indicator tables are shared, and never larger than `table_bytes`.

        A user's strategy that fails on a set leaves that set without figures; the others
        go on.
        """
        workers = max(1, threads or os.cpu_count() or 1)
        rules, strategy = self.rules, self.strategy
        with _mapping(workers) as mapped:
            if isinstance(strategy, BuiltInStrategy):
                sides = SIDES[rules.direction]
                many = Many(self.candles, self._history, strategy, sides, rules.shift, self._terms)
                return Tallied(many.tally(sets, mapped, workers, table_bytes), {})
            table = np.full((len(sets), TALLY_COLUMNS), np.nan)
            failures: dict[int, str] = {}
            starts = range(0, len(sets), _SETS_A_TASK)
            tasks = [range(start, min(start + _SETS_A_TASK, len(sets))) for start in starts]
            loop = self._loop(sets)
            for failed in mapped(partial(self._tally_some, sets, loop, table), tasks):
                failures |= failed
        return Tallied(table, failures)

    def record(self, values: Values) -> Recorded:
        """Run one set and keep its trades and its value at every close."""
        return self.record_events(self.events(values))

    def record_events(self, events: np.ndarray) -> Recorded:
        """Run an account on signals that are already there, in full."""
        tally, none = np.empty(TALLY_COLUMNS), np.empty((0, len(TRADE_FIELDS)))
        equity = np.empty(len(events))
        self._simulate(events, tally, none, equity)
        trades = np.empty((int(tally[TRADES]), len(TRADE_FIELDS)))
        self._simulate(events, tally, trades, equity)
        return Recorded(tally, trades, equity)

    def events(self, values: Values) -> np.ndarray:
        """The signals' bits, each at the candle that executes them."""
        events = np.zeros(len(self.candles.close), dtype=np.uint8)
        self._mark(values, events)
        return events

    def _loop(self, sets: ParameterSets) -> Loop | None:
        if len(sets) < _WORTH_COMPILING or not isinstance(self.strategy, UserStrategy):
            return None
        rules = self.rules
        how = (self._history, rules.direction, rules.shift, self._terms)
        return loop_around(self.strategy, sets, self.candles, *how)

    def _tally_some(
        self, sets: ParameterSets, loop: Loop | None, table: np.ndarray, some: range
    ) -> dict[int, str]:
        if loop is not None:
            piece = slice(some.start, some.stop)
            with suppress(InvalidInput):  # Set by set, the right ones get their figures.
                if loop(piece, table[piece]):
                    return {}
            table[piece] = np.nan
        no_trades, no_equity = np.empty((0, len(TRADE_FIELDS))), np.empty(0)
        failures: dict[int, str] = {}
        events = np.empty(len(self.candles.close), dtype=np.uint8)
        for at, values in zip(some, sets.block(some.start, some.stop).each(), strict=True):
            events[:] = 0
            try:
                self._mark(values, events)
            except InvalidInput as exc:
                failures[at] = str(exc)
                continue
            self._simulate(events, table[at], no_trades, no_equity)
        return failures

    def _mark(self, values: Values, events: np.ndarray) -> None:
        rules = self.rules
        rows = [indicator_row(self.candles, row) for row in self.strategy.rows(values)]
        self.strategy.mark(self.candles, rows, values, rules.direction, rules.shift, events)

    def _simulate(
        self, events: np.ndarray, tally: np.ndarray, trades: np.ndarray, equity: np.ndarray
    ) -> None:
        simulate(
            self._history,
            events,
            events[: len(events) // 8 * 8].view(np.uint64),
            self._terms,
            tally,
            trades,
            equity,
            np.empty(ACCOUNT_ROWS),
            np.empty(CURVE_ROWS),
        )


def terms_of(candles: CandleArrays, rules: Rules) -> Terms:
    """The rules as the kernel takes them, for candles of this length."""
    costs, stops, sizing = rules.costs, rules.stops, rules.sizing
    funding = costs.funding / candles_a_year(candles)
    paid = (costs.fee, costs.fixed_fee, costs.smallest_order, costs.slippage)
    wanted = (stops.stop_loss, stops.take_profit, stops.trailing_stop)
    varies = sizing.kind == "volatility"
    return Terms(
        rules.execution is Execution.NEXT_OPEN,
        np.array([*paid, funding, costs.impact]),
        np.array([np.nan if stop is None else stop for stop in wanted]),
        np.array([_SIZING_KINDS[sizing.kind], sizing.amount, sizing.cash]),
        volatility_fractions(candles, sizing, rules.shift) if varies else np.empty(0),
    )


@contextmanager
def _mapping(threads: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map` in so many threads; one is this one, which need not be woken for every piece."""
    if threads == 1:
        yield map
        return
    with ThreadPoolExecutor(threads) as pool:
        yield pool.map
