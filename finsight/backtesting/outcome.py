"""What a backtest that somebody asked for found, and what is always shown beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from finsight.backtesting.candle_arrays import candle_arrays
from finsight.backtesting.look_ahead import look_ahead
from finsight.backtesting.overfitting import permutation_test, probability_of_overfitting
from finsight.backtesting.single import run
from finsight.backtesting.user_strategy import resolve
from finsight.domain.backtest import Provenance
from finsight.domain.backtest_record import BacktestRequest
from finsight.domain.errors import InvalidInput


@dataclass(frozen=True)
class Outcome:
    """What a backtest found, ready to be kept. figures, saw: as in `BacktestRecord`."""

    figures: dict[str, Any]
    tables: dict[str, pa.Table]
    provenance: Provenance
    saw: dict[str, str]


def beside(request: BacktestRequest, candles: Any) -> dict[str, Any]:
    """Doing nothing, and paying for it as the strategy does: all in, long, without stops."""
    held = run(candles, "buy_and_hold", costs=request.costs, execution=request.execution)
    return {"statistics": {}, "buy_and_hold": held.statistics, "one_candle_late": {}}


def slow_luck(request: BacktestRequest, candles: Any) -> dict[str, Any]:
    """The two figures that search the grid again; where one can't be had, why."""
    how = {**request.rules, "sample": request.luck.sets, "seed": request.seed}
    said: dict[str, Any] = {"probability_of_overfitting": None, "permutation_p_value": None}
    try:
        split = probability_of_overfitting(candles, request.strategy, request.grid, **how)
        said |= {
            "probability_of_overfitting": split.probability,
            "overfitting_sets": split.sets,
            "overfitting_splits": split.splits,
        }
    except InvalidInput as exc:
        said["overfitting_missing"] = str(exc)
    if not request.luck.shuffles:
        return {**said, "permutation_missing": "not asked for"}
    try:
        shuffled = permutation_test(
            candles, request.strategy, request.grid, shuffles=request.luck.shuffles, **how
        )
        said |= {
            "permutation_p_value": shuffled.p_value,
            "permutation_shuffles": len(shuffled.shuffled_best),
        }
    except InvalidInput as exc:
        said["permutation_missing"] = str(exc)
    return said


def checked(provenance: Provenance, candles: Any, values: Mapping[str, float]) -> Provenance:
    """The provenance with a look-ahead check in it, also for strategies that are ours."""
    if provenance.look_ahead.found is not None:
        return provenance
    seen = look_ahead(candle_arrays(candles), resolve(provenance.strategy), values, histories=5)
    return provenance.model_copy(update={"look_ahead": seen})
