"""Choose on the past, judge on the stretch after it, roll on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from finsight.backtesting.blocks import Meter, Progress
from finsight.backtesting.candle_arrays import CandleArrays, part
from finsight.backtesting.engine import Engine, Rules
from finsight.backtesting.kernel import LONG_EXIT, SHORT_EXIT
from finsight.backtesting.parameter_sets import ParameterSets, parameter_sets
from finsight.backtesting.side_by_side import side_by_side
from finsight.backtesting.single import (
    TIME,
    equity_table,
    one_row,
    provenance_of,
    rules_of,
    trade_table,
)
from finsight.backtesting.statistics import statistics
from finsight.backtesting.strategies import Strategy
from finsight.backtesting.tallies import STATISTICS, Market, Tallies
from finsight.backtesting.user_strategy import opened, resolve
from finsight.domain.backtest import WalkForwardResult
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Direction, Execution, Sampling, Sizing, Stops, unknown


class Fold(NamedTuple):
    """Rows of the candles: train on [train_from, train_to), judge on [test_from, test_to)."""

    train_from: int
    train_to: int
    test_from: int
    test_to: int


def walk_forward(
    candles: Any,
    strategy: str | Callable[..., Any] = "ma_cross",
    grid: Mapping[str, Iterable[float]] | None = None,
    *,
    train: int,
    test: int,
    purge: int = 0,
    embargo: int = 0,
    anchored: bool = False,
    metric: str = "sharpe",
    costs: Costs | Mapping[str, Any] | None = None,
    execution: Execution | str = "next_open",
    direction: Direction | str = "long",
    stops: Stops | Mapping[str, Any] | None = None,
    sizing: Sizing | Mapping[str, Any] | None = None,
    sample: int | None = None,
    sampling: Sampling | str = "random",
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> WalkForwardResult:
    """Optimise on `train` candles, judge on the next `test`, roll on by `test`; all in candles.

    `purge` candles at the end of each training stretch are not trained on, and `embargo`
    candles after it are not traded: between them, no trade or indicator of the training
    reaches into the judging. With `anchored`, training always begins at the first candle.
    `metric` is any statistic, the highest wins.

    The result is one account over all judged stretches, with costs. Indicators are warmed
    up on the candles before; each stretch begins and ends without a position, and the last
    order that makes it so is paid for. Where this process is connected to Ray, the folds
    are its tasks; otherwise each is searched in `threads`.

    Raises:
        InvalidInput: as `sweep`; also lengths that leave no fold, or an unknown metric.
    """
    arrays, chosen = opened(candles, strategy)
    rules = rules_of(execution, direction, costs, stops, sizing)
    sets = parameter_sets(chosen, grid, sample, seed, sampling)
    if metric not in STATISTICS:
        raise InvalidInput(unknown("statistic", metric, STATISTICS))
    cut = folds(len(arrays.close), train, test, purge, embargo, anchored)
    first, last = cut[0].test_from, cut[-1].test_to
    events = np.zeros(last - first, dtype=np.uint8)
    found: dict[int, dict[str, Any]] = {}
    meter = Meter(len(sets) * len(cut), 0, progress)
    work = _Work(arrays, strategy, rules, sets, metric)
    for place, (row, signals) in side_by_side(_judge, work, cut, threads):
        fold = cut[place]
        events[fold.test_from - first : fold.test_to - first] = signals
        found[place] = row
        meter.add(len(sets))
    rows = [found[place] for place in sorted(found)]
    stretch = part(arrays, first, last)
    recorded = Engine(stretch, chosen, rules).record_events(events)
    table = pa.Table.from_pylist(rows)
    for name in ("train_from", "train_to", "test_from", "test_to"):
        column = table.column_names.index(name)
        table = table.set_column(column, name, table.column(name).cast(TIME))
    return WalkForwardResult(
        statistics=one_row(recorded.tally, stretch, rules),
        trades=trade_table(recorded, stretch),
        equity=equity_table(recorded.equity, stretch),
        folds=table,
        metric=metric,
        provenance=provenance_of(arrays, chosen, rules, sets.values(0), seed),
        notes={
            "folds": len(rows),
            "trials": len(sets) * len(rows),
            "in_sample": float(np.mean([row[f"in_sample_{metric}"] for row in rows])),
            "out_of_sample": float(np.nanmean([row[f"out_of_sample_{metric}"] for row in rows])),
        },
    )


def folds(
    candles: int, train: int, test: int, purge: int, embargo: int, anchored: bool
) -> list[Fold]:
    """Cut `candles` rows into folds; the last may judge fewer. Raises: InvalidInput."""
    if train < 3 or test < 3 or purge < 0 or embargo < 0 or train - purge < 3:
        raise InvalidInput(
            f"train and test must be at least 3 candles and purge and embargo not negative, "
            f"with 3 candles left to train on; got train={train}, test={test}, "
            f"purge={purge}, embargo={embargo}"
        )
    cut = []
    start = 0
    while start + train + embargo + 3 <= candles:
        test_from = start + train + embargo
        cut.append(
            Fold(
                0 if anchored else start,
                start + train - purge,
                test_from,
                min(test_from + test, candles),
            )
        )
        start += test
    if not cut:
        raise InvalidInput(
            f"{candles} candles are too few for one fold of {train} to train on, "
            f"{embargo} of embargo and at least 3 to judge on"
        )
    return cut


class _Work(NamedTuple):
    """What every fold is chosen and judged with."""

    candles: CandleArrays
    strategy: str | Callable[..., Any]
    rules: Rules
    sets: ParameterSets
    metric: str


def _judge(work: _Work, fold: Fold, threads: int | None) -> tuple[dict[str, Any], np.ndarray]:
    """Choose on one fold's training stretch, and judge on its test stretch."""
    candles, chosen, rules, sets = work.candles, resolve(work.strategy), work.rules, work.sets
    best, in_sample = _choose(candles, chosen, rules, sets, fold, work.metric, threads)
    values = sets.values(best)
    signals = _signals(candles, chosen, rules, values, fold)
    judged = part(candles, fold.test_from, fold.test_to)
    out = one_row(Engine(judged, chosen, rules).record_events(signals).tally, judged, rules)
    return _row(candles, fold, values, work.metric, in_sample, out), signals


def _choose(
    candles: CandleArrays,
    strategy: Strategy,
    rules: Rules,
    sets: ParameterSets,
    fold: Fold,
    metric: str,
    threads: int | None,
) -> tuple[int, float]:
    seen = part(candles, fold.train_from, fold.train_to)
    tallied = Engine(seen, strategy, rules).tally(sets, threads)
    sums = np.where(np.isnan(tallied.table), 0.0, tallied.table)
    values = statistics(Tallies(sums, Market.of(seen), rules.sizing.cash))[metric]
    values = values.astype(np.float64)
    values[list(tallied.failures)] = np.nan
    if np.isnan(values).all():
        return 0, float("nan")
    best = int(np.nanargmax(values))
    return best, float(values[best])


def _signals(
    candles: CandleArrays,
    strategy: Strategy,
    rules: Rules,
    values: Mapping[str, float],
    fold: Fold,
) -> np.ndarray:
    """The stretch's events: computed on everything up to its end, a way out on its last candle."""
    known = part(candles, 0, fold.test_to)
    engine = Engine(known, strategy, rules)
    events = engine.events(values)[fold.test_from :]
    if rules.shift:
        events[0] = 0  # the signal of a candle before the stretch
    events[-1] = LONG_EXIT | SHORT_EXIT
    return events


def _row(
    candles: CandleArrays,
    fold: Fold,
    values: Mapping[str, float],
    metric: str,
    in_sample: float,
    out: Mapping[str, float],
) -> dict[str, Any]:
    times = {
        "train_from": int(candles.ts_ms[fold.train_from]),
        "train_to": int(candles.ts_ms[fold.train_to - 1]),
        "test_from": int(candles.ts_ms[fold.test_from]),
        "test_to": int(candles.ts_ms[fold.test_to - 1]),
    }
    judged = {f"out_of_sample_{metric}": float(out[metric])}
    judged |= {name: out[name] for name in ("total_return", "trades", "buy_and_hold_return")}
    return {**times, **values, f"in_sample_{metric}": in_sample, **judged}
