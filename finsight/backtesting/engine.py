"""Many parameter sets over one series, in threads: signals, then the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

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
Asked = tuple[int, Values, Sequence[Row]]
"""A parameter set: its row, its values and the indicator rows that it needs."""

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
        with ThreadPoolExecutor(workers) as pool:
            for asked, needed in self._chunks(sets, table_bytes):
                computed = pool.map(partial(indicator_row, self.candles), needed)
                rows = dict(zip(needed, computed, strict=True))
                starts = range(0, len(asked), _SETS_A_TASK)
                blocks = [asked[start : start + _SETS_A_TASK] for start in starts]
                for failed in pool.map(partial(self._tally_block, rows, table), blocks):
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
        self.strategy.mark(
            self.candles, rows, values, self.rules.direction, self.rules.shift, events
        )
        return events

    def _chunks(
        self, sets: ParameterSets, table_bytes: int
    ) -> Iterator[tuple[list[Asked], list[Row]]]:
        """Cut the sets so that each chunk's indicator rows fit in `table_bytes`."""
        most = max(8, table_bytes // (8 * len(self.candles.close)))
        asked: list[Asked] = []
        needed: dict[Row, None] = {}
        for row, values in enumerate(sets.each()):
            keys = self.strategy.rows(values)
            new = [key for key in keys if key not in needed]
            if asked and len(needed) + len(new) > most:
                yield asked, list(needed)
                asked, needed, new = [], {}, list(keys)
            needed.update(dict.fromkeys(new))
            asked.append((row, values, keys))
        yield asked, list(needed)

    def _tally_block(
        self, rows: dict[Row, np.ndarray], table: np.ndarray, block: Sequence[Asked]
    ) -> dict[int, str]:
        no_trades, no_equity = np.empty((0, len(TRADE_FIELDS))), np.empty(0)
        failures: dict[int, str] = {}
        for row, values, keys in block:
            try:
                events = self.events(values, [rows[key] for key in keys])
            except InvalidInput as exc:
                failures[row] = str(exc)
                continue
            self._simulate(events, table[row], no_trades, no_equity)
        return failures

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
