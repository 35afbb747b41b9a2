"""One strategy, one parameter set, everything about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from finsight.backtesting.candle_arrays import (
    CandleArrays,
    fingerprint,
    missing_candles,
)
from finsight.backtesting.compiled import engine_version
from finsight.backtesting.engine import Engine, Recorded, Rules
from finsight.backtesting.kernel import TRADE_FIELDS
from finsight.backtesting.look_ahead import look_ahead
from finsight.backtesting.statistics import statistics
from finsight.backtesting.strategies import Strategy
from finsight.backtesting.tallies import Market, Tallies
from finsight.backtesting.user_strategy import UserStrategy, opened
from finsight.domain.backtest import LookAhead, Provenance, RunResult
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Direction, Execution, Sizing, Stops, one_of, unknown

TIME = pa.timestamp("ms", tz="UTC")


def run(
    candles: Any,
    strategy: str | Callable[..., Any] = "ma_cross",
    parameters: Mapping[str, Any] | None = None,
    *,
    costs: Costs | Mapping[str, Any] | None = None,
    execution: Execution | str = "next_open",
    direction: Direction | str = "long",
    stops: Stops | Mapping[str, Any] | None = None,
    sizing: Sizing | Mapping[str, Any] | None = None,
) -> RunResult:
    """Test one parameter set over `candles` (a CandleTable or an Arrow table).

    Raises:
        InvalidInput: anything in the request that can't be: candles, an unknown strategy
            (with the nearest one), parameters out of range or inconsistent, costs.
    """
    arrays, chosen = opened(candles, strategy)
    rules = rules_of(execution, direction, costs, stops, sizing)
    values = chosen.check(parameters or {})
    recorded = Engine(arrays, chosen, rules).record(values)
    late = Engine(arrays, chosen, replace(rules, late=1)).record(values)
    return RunResult(
        parameters=dict(values),
        statistics=one_row(recorded.tally, arrays, rules),
        trades=trade_table(recorded, arrays),
        equity=equity_table(recorded.equity, arrays),
        provenance=provenance_of(arrays, chosen, rules, values),
        one_candle_late=one_row(late.tally, arrays, rules),
    )


def rules_of(
    execution: Execution | str,
    direction: Direction | str,
    costs: Costs | Mapping[str, Any] | None,
    stops: Stops | Mapping[str, Any] | None,
    sizing: Sizing | Mapping[str, Any] | None,
) -> Rules:
    """Check what was asked for. Raises: InvalidInput."""
    return Rules(
        execution=one_of(Execution, execution, "execution"),
        direction=one_of(Direction, direction, "direction"),
        costs=Costs.of(costs),
        stops=Stops.of(stops),
        sizing=Sizing.of(sizing),
    )


def rules_from(given: Mapping[str, Any]) -> Rules:
    """The rules among keyword arguments, as `sweep` takes them. Raises: InvalidInput."""
    known = ("execution", "direction", "costs", "stops", "sizing")
    for name in given:
        if name not in known:
            raise InvalidInput(unknown("option", str(name), known))
    return rules_of(
        given.get("execution", "next_open"),
        given.get("direction", "long"),
        given.get("costs"),
        given.get("stops"),
        given.get("sizing"),
    )


def provenance_of(
    candles: CandleArrays,
    strategy: Strategy,
    rules: Rules,
    values: Mapping[str, float] | None,
    seed: int | None = None,
) -> Provenance:
    """What made a result. A user's own strategy is checked for look-ahead on the way."""
    seen = LookAhead()
    if isinstance(strategy, UserStrategy) and values is not None:
        seen = look_ahead(candles, strategy, values, histories=5)
    return Provenance(
        strategy=strategy.name,
        execution=rules.execution,
        direction=rules.direction,
        costs=rules.costs,
        stops=rules.stops,
        sizing=rules.sizing,
        seed=seed,
        candles=len(candles.close),
        data_fingerprint=fingerprint(candles),
        engine_version=engine_version(),
        first_opened_ms=int(candles.ts_ms[0]),
        last_opened_ms=int(candles.ts_ms[-1]),
        missing=missing_candles(candles),
        look_ahead=seen,
    )


def one_row(tally: np.ndarray, candles: CandleArrays, rules: Rules) -> dict[str, float]:
    """The statistics of one account, by name."""
    tallies = Tallies(tally.reshape(1, -1), Market.of(candles), rules.sizing.cash)
    return {name: column[0].item() for name, column in statistics(tallies).items()}


def trade_table(recorded: Recorded, candles: CandleArrays) -> pa.Table:
    """The trades, with times instead of candle numbers beside them."""
    columns = dict(zip(TRADE_FIELDS, recorded.trades.T, strict=True))
    entry, exit_ = (columns[name].astype(np.int64) for name in ("entry_bar", "exit_bar"))
    return pa.table(
        {
            "entry_at": pa.array(candles.ts_ms[entry], TIME),
            "exit_at": pa.array(candles.ts_ms[exit_], TIME),
            "entry_bar": entry,
            "exit_bar": exit_,
            "side": columns["side"].astype(np.int8),
            **{name: columns[name] for name in TRADE_FIELDS[3:10]},
            "open": columns["open"].astype(bool),
        }
    )


def equity_table(equity: np.ndarray, candles: CandleArrays) -> pa.Table:
    """The value at each close, and how far below its highest it is."""
    drawdown = equity / np.maximum.accumulate(equity) - 1
    return pa.table({"ts": pa.array(candles.ts_ms, TIME), "equity": equity, "drawdown": drawdown})
