"""Carry out a backtest that somebody asked for: the figures and tables that are shown and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa

from finsight.backtesting.across import COSTS_TRIED, sweep_across
from finsight.backtesting.blocks import Progress
from finsight.backtesting.candle_arrays import candle_arrays, fingerprint
from finsight.backtesting.outcome import Outcome, beside, checked, slow_luck
from finsight.backtesting.single import run
from finsight.backtesting.sweep import sweep
from finsight.backtesting.together import run_together
from finsight.backtesting.user_strategy import resolve
from finsight.backtesting.walk_forward import walk_forward
from finsight.domain.backtest import Provenance, metadata_of
from finsight.domain.backtest_record import WITHOUT_LIMIT, BacktestRequest, SweepMeans, plain
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.known_values import KnownValues, with_known

KNOWN_TABLE = "known_"
"""Begins the names of the tables of what was known beside the candles."""

_INSTANT = timedelta(milliseconds=1)

Tell = Callable[[Progress], None]
Known = Mapping[str, Mapping[str, KnownValues]]
"""What was known beside each series' candles: by the series' name, then by kind."""


def carry_out(
    request: BacktestRequest,
    candles: Mapping[str, CandleTable],
    progress: Tell | None = None,
    means: SweepMeans = WITHOUT_LIMIT,
    known: Known | None = None,
) -> Outcome:
    """Do what `request` asks over the `candles` of its series, and what was `known` beside them.

    Beside the strategy there is always buying and holding, with the same costs, and the
    strategy one candle late; signals are always checked for look-ahead. A sweep's winner
    never comes without what says how much of it is luck.

    Raises:
        InvalidInput: as `run`, `run_together`, `sweep`, `sweep_across` and `walk_forward`.
        StoreUnavailable: the folder for parts can't be written.
    """
    known = known or {}
    seen = {series: with_known(table, **known.get(series, {})) for series, table in candles.items()}
    if request.kind == "together":
        outcome = _together(request, seen)
    elif request.kind == "sweep":
        outcome = _sweep(request, seen, progress, means)
    elif len(seen) != 1:
        raise InvalidInput(f"a {request.kind} needs one series, not {len(seen)}")
    else:
        [(series, table)] = candles.items()
        if request.kind == "run":
            outcome = _run(request, series, seen[series])
        else:
            outcome = _walk_forward(request, series, table, seen[series], progress)
    # Kept with the result: without them it could not be done again.
    tables = {
        known_table(kind, place): values.to_arrow()
        for place, series in enumerate(candles)
        for kind, values in known.get(series, {}).items()
    }
    return replace(outcome, tables={**outcome.tables, **tables})


def known_table(kind: str, place: int) -> str:
    """The name of the table of one kind of values beside the series in this place."""
    return f"{KNOWN_TABLE}{kind}" + (f"_{place + 1}" if place else "")


def _run(request: BacktestRequest, series: str, candles: Any) -> Outcome:
    found = run(candles, request.strategy, request.parameters, **request.rules)
    figures = {
        "parameters": found.parameters,
        **beside(request, candles),
        "statistics": found.statistics,
        "one_candle_late": found.one_candle_late,
    }
    made_by = checked(found.provenance, candles, found.parameters)
    tables = {"trades": found.trades, "equity": found.equity}
    return Outcome(plain(figures), tables, made_by, {series: made_by.data_fingerprint})


def _together(request: BacktestRequest, seen: Mapping[str, Any]) -> Outcome:
    how: dict[str, Any] = {
        "weights": request.weights or None,
        "costs": request.costs,
        "execution": request.execution,
    }
    found = run_together(
        seen,
        request.strategy,
        request.parameters,
        rebalance=request.rebalance,
        direction=request.direction,
        stops=request.stops,
        **how,
    )
    figures = {
        "parameters": found.parameters,
        "statistics": found.statistics,
        "buy_and_hold": run_together(seen, "buy_and_hold", **how).statistics,
        "one_candle_late": found.one_candle_late,
    }
    tables = {"trades": found.trades, "equity": found.equity}
    return Outcome(plain(figures), tables, found.provenance, found.fingerprints)


def _sweep(
    request: BacktestRequest,
    seen: Mapping[str, Any],
    progress: Tell | None,
    means: SweepMeans,
) -> Outcome:
    """A sweep of one series, or of many under many costs; the winner is that of them all."""
    how: dict[str, Any] = {
        **request.rules,
        "sample": request.sample,
        "sampling": request.sampling,
        "seed": request.seed,
        "out": means.parts,
        "resume": means.resume,
        "memory_bytes": means.memory_bytes,
        "progress": progress,
    }
    first = next(iter(seen))
    several = len(seen) > 1 or bool(request.costs_tried)
    if several:
        how["costs"] = request.costs_tried or request.costs
        table = sweep_across(seen, request.strategy, request.grid, **how)
    else:
        table = sweep(seen[first], request.strategy, request.grid, **how)
    said = metadata_of(table)
    saw = {series: fingerprint(candle_arrays(one)) for series, one in seen.items()}
    counts = {name: said[name] for name in ("sets", "ruled_out", "failed")}
    winner = said["winner"]
    if not winner:
        made = said["provenance"]
        made_by = Provenance.model_validate(made[0] if isinstance(made, list) else made)
        figures = {"parameters": None, "luck": None, **beside(request, seen[first]), **counts}
        return Outcome(plain(figures), {"sets": table}, made_by, saw)
    named, series, own = dict(winner["parameters"]), first, request
    if several:
        series = named.pop("series")
        paid = {name: named.pop(name) for name in COSTS_TRIED if name in named}
        own = request.model_copy(update={"costs": request.costs.model_copy(update=paid)})
    best = run(seen[series], request.strategy, named, **own.rules)
    figures = {
        **beside(own, seen[series]),
        # Its series and costs are part of what was chosen.
        "parameters": {**(winner["parameters"] if several else {}), **best.parameters},
        **({"series": series} if several else {}),
        "statistics": best.statistics,
        "one_candle_late": best.one_candle_late,
        **counts,
        "luck": {**winner, **slow_luck(own, seen[series])},
    }
    made_by = best.provenance.model_copy(update={"seed": request.seed})
    tables = {"sets": table, "trades": best.trades, "equity": best.equity}
    return Outcome(plain(figures), tables, checked(made_by, seen[series], best.parameters), saw)


def _walk_forward(
    request: BacktestRequest, series: str, candles: CandleTable, seen: Any, progress: Tell | None
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
        **beside(request, judged),
        "parameters": None,
        "statistics": found.statistics,
        "notes": found.notes,
        "metric": found.metric,
    }
    tables: dict[str, pa.Table] = {
        "folds": found.folds,
        "trades": found.trades,
        "equity": found.equity,
    }
    made_by = checked(found.provenance, seen, first)
    return Outcome(plain(figures), tables, made_by, {series: made_by.data_fingerprint})
