"""Many parameter sets over one series, as an Arrow table with a row a set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from finsight.backtesting.candle_arrays import candle_arrays
from finsight.backtesting.engine import Engine, Rules, Tallied
from finsight.backtesting.luck import winner
from finsight.backtesting.parameter_sets import ParameterSets, parameter_sets
from finsight.backtesting.single import provenance_of, rules_of
from finsight.backtesting.statistics import statistics
from finsight.backtesting.strategies import Strategy
from finsight.backtesting.tallies import Market, Tallies
from finsight.backtesting.user_strategy import resolve
from finsight.domain.backtest import with_metadata
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Direction, Execution, Sizing, Stops


def sweep(
    candles: Any,
    strategy: str | Callable[..., Any] = "ma_cross",
    grid: Mapping[str, Iterable[float]] | None = None,
    *,
    costs: Costs | Mapping[str, Any] | None = None,
    execution: Execution | str = "next_open",
    direction: Direction | str = "long",
    stops: Stops | Mapping[str, Any] | None = None,
    sizing: Sizing | Mapping[str, Any] | None = None,
    sample: int | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> pa.Table:
    """Try every parameter set of `grid`, or `sample` of them, over `candles`.

    Returns the parameters, then the statistics, one row a set, in the grid's order (the
    first parameter changes slowest). Sets that the strategy rules out (fast >= slow) are
    left out; the table's metadata (`domain.backtest.metadata_of`) counts them, says what
    made the table, and how much of the best set's Sharpe ratio is luck. Where a user's
    strategy failed, the column `error` says why and the figures of that row are null.

    Raises:
        InvalidInput: as `run`; also an empty grid or one that is too large.
    """
    arrays = candle_arrays(candles)
    chosen = resolve(strategy)
    rules = rules_of(execution, direction, costs, stops, sizing)
    sets = parameter_sets(chosen, grid, sample, seed)
    engine = Engine(arrays, chosen, rules)
    tallied = engine.tally(sets, threads)
    if len(tallied.failures) == len(sets):
        raise InvalidInput(f"every parameter set failed; the first: {tallied.failures[0]}")
    table = result_table(chosen, sets, tallied, Market.of(arrays), rules)
    works = next(row for row in range(len(sets)) if row not in tallied.failures)
    made_by = provenance_of(arrays, chosen, rules, sets.values(works), seed)
    return with_metadata(
        table,
        {
            "provenance": made_by.model_dump(mode="json"),
            "sets": len(sets),
            "ruled_out": sets.ruled_out,
            "failed": len(tallied.failures),
            "winner": winner(table, list(sets.columns), tallied.table, Market.of(arrays)),
        },
    )


def result_table(
    strategy: Strategy, sets: ParameterSets, tallied: Tallied, market: Market, rules: Rules
) -> pa.Table:
    """Parameters, statistics and, where some sets failed, errors, as Arrow."""
    columns: dict[str, Any] = {n: _narrow(c, n, strategy) for n, c in sets.columns.items()}
    failed = np.zeros(len(sets), dtype=bool)
    failed[list(tallied.failures)] = True
    sums = np.where(failed[:, None], 0.0, tallied.table) if failed.any() else tallied.table
    for name, values in statistics(Tallies(sums, market, rules.sizing.cash)).items():
        columns[name] = pa.array(values, mask=failed) if failed.any() else values
    if failed.any():
        columns["error"] = [tallied.failures.get(row) for row in range(len(sets))]
    return pa.table(columns)


def _narrow(column: np.ndarray, name: str, strategy: Strategy) -> np.ndarray:
    """Whole numbers as integers: every value of an integer parameter is one."""
    kinds = {parameter.name: parameter.kind for parameter in strategy.parameters or ()}
    whole = kinds.get(name) == "integer" or (
        name not in kinds and bool(np.all(column == np.round(column)))
    )
    return column.astype(np.int64) if whole else column
