"""Carry out a backtest that somebody asked for: the figures and tables that are shown and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pyarrow as pa

from finsight.backtesting.blocks import Progress
from finsight.backtesting.candle_arrays import candle_arrays
from finsight.backtesting.look_ahead import look_ahead
from finsight.backtesting.overfitting import permutation_test, probability_of_overfitting
from finsight.backtesting.single import run
from finsight.backtesting.sweep import sweep
from finsight.backtesting.user_strategy import resolve
from finsight.backtesting.walk_forward import walk_forward
from finsight.domain.backtest import Provenance, RunResult, metadata_of
from finsight.domain.backtest_record import WITHOUT_LIMIT, BacktestRequest, SweepMeans, plain
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.known_values import KnownValues, with_known

KNOWN_TABLE = "known_"
"""Begins the names of the tables of what was known beside the candles."""

_INSTANT = timedelta(milliseconds=1)

Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Outcome:
    """What a backtest found, ready to be kept. figures: as in `BacktestRecord`."""

    figures: dict[str, Any]
    tables: dict[str, pa.Table]
    provenance: Provenance


def carry_out(
    request: BacktestRequest,
    candles: CandleTable,
    progress: Tell | None = None,
    means: SweepMeans = WITHOUT_LIMIT,
    known: Mapping[str, KnownValues] | None = None,
) -> Outcome:
    """Do what `request` asks over `candles`, and over what was `known` beside them.

    Beside the strategy there is always buying and holding, with the same costs, and the
    strategy one candle late; signals are always checked for look-ahead. A sweep's winner
    never comes without what says how much of it is luck.

    Raises:
        InvalidInput: as `run`, `sweep` and `walk_forward`.
        StoreUnavailable: the folder for parts can't be written.
    """
    seen = with_known(candles, **(known or {}))
    if request.kind == "run":
        outcome = _run(request, seen)
    elif request.kind == "sweep":
        outcome = _sweep(request, seen, progress, means)
    else:
        outcome = _walk_forward(request, candles, seen, progress)
    # Kept with the result: without them it could not be done again.
    beside = {f"{KNOWN_TABLE}{kind}": values.to_arrow() for kind, values in (known or {}).items()}
    return replace(outcome, tables={**outcome.tables, **beside})


def _run(request: BacktestRequest, candles: Any) -> Outcome:
    found = run(candles, request.strategy, request.parameters, **request.rules)
    figures = {"parameters": found.parameters, **_figures(request, candles, found)}
    tables = {"trades": found.trades, "equity": found.equity}
    return Outcome(plain(figures), tables, _checked(found.provenance, candles, found.parameters))


def _sweep(
    request: BacktestRequest,
    candles: Any,
    progress: Tell | None,
    means: SweepMeans,
) -> Outcome:
    table = sweep(
        candles,
        request.strategy,
        request.grid,
        **request.rules,
        sample=request.sample,
        sampling=request.sampling,
        seed=request.seed,
        out=means.parts,
        resume=means.resume,
        memory_bytes=means.memory_bytes,
        progress=progress,
    )
    said = metadata_of(table)
    counts = {name: said[name] for name in ("sets", "ruled_out", "failed")}
    provenance = Provenance.model_validate(said["provenance"])
    if not said["winner"]:
        figures = {"parameters": None, "luck": None, **_beside(request, candles), **counts}
        return Outcome(plain(figures), {"sets": table}, provenance)
    winner = said["winner"]
    best = run(candles, request.strategy, winner["parameters"], **request.rules)
    figures = {
        "parameters": best.parameters,
        **_figures(request, candles, best),
        **counts,
        "luck": {**winner, **_slow_luck(request, candles)},
    }
    tables = {"sets": table, "trades": best.trades, "equity": best.equity}
    return Outcome(plain(figures), tables, _checked(provenance, candles, best.parameters))


def _walk_forward(
    request: BacktestRequest, candles: CandleTable, seen: Any, progress: Tell | None
) -> Outcome:
    if request.folds is None:
        raise InvalidInput("a walk-forward needs to know how many candles to train and test on")
    found = walk_forward(
        seen,
        request.strategy,
        request.grid,
        **request.folds.model_dump(),
        **request.rules,
        sample=request.sample,
        sampling=request.sampling,
        seed=request.seed,
        progress=progress,
    )
    times = found.equity.column("ts")
    judged = candles.between(times[0].as_py(), times[-1].as_py() + _INSTANT)
    named = {parameter.name for parameter in resolve(request.strategy).parameters or ()}
    first = {
        name: found.folds.column(name)[0].as_py()
        for name in found.folds.column_names
        if name in named | set(request.grid)
    }
    figures = {
        **_beside(request, judged),
        "parameters": None,
        "statistics": found.statistics,
        "notes": found.notes,
        "metric": found.metric,
    }
    tables = {"folds": found.folds, "trades": found.trades, "equity": found.equity}
    return Outcome(plain(figures), tables, _checked(found.provenance, seen, first))


def _figures(request: BacktestRequest, candles: Any, found: RunResult) -> dict[str, Any]:
    return {
        **_beside(request, candles),
        "statistics": found.statistics,
        "one_candle_late": found.one_candle_late,
    }


def _beside(request: BacktestRequest, candles: Any) -> dict[str, Any]:
    """Doing nothing, and paying for it as the strategy does: all in, long, without stops."""
    held = run(candles, "buy_and_hold", costs=request.costs, execution=request.execution)
    return {"statistics": {}, "buy_and_hold": held.statistics, "one_candle_late": {}}


def _slow_luck(request: BacktestRequest, candles: Any) -> dict[str, Any]:
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


def _checked(provenance: Provenance, candles: Any, values: Mapping[str, float]) -> Provenance:
    """The provenance with a look-ahead check in it, also for strategies that are ours."""
    if provenance.look_ahead.found is not None:
        return provenance
    seen = look_ahead(candle_arrays(candles), resolve(provenance.strategy), values, histories=5)
    return provenance.model_copy(update={"look_ahead": seen})
