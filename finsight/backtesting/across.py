"""One grid over many series and costs, and how much of the best of them all is luck."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from finsight.backtesting.blocks import Meter, Progress
from finsight.backtesting.candle_arrays import candle_arrays
from finsight.backtesting.luck import sensitivity, winner
from finsight.backtesting.sweep import sweep
from finsight.backtesting.tallies import Market
from finsight.domain.backtest import metadata_of, with_metadata
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs

_Costs = Costs | Mapping[str, Any]
COSTS_TRIED = ("fee", "fixed_fee", "slippage", "impact", "funding")
"""Columns of the costs that differ, in this order."""


def sweep_across(
    candles: Mapping[str, Any],
    strategy: str | Callable[..., Any] = "ma_cross",
    grid: Mapping[str, Iterable[float]] | None = None,
    *,
    costs: _Costs | Sequence[_Costs] | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> pa.Table:
    """Try every parameter set on every series of `candles` and under each of `costs`.

    `candles` has series by name, of any symbols and timeframes; `options` are those of
    `sweep`, for each sweep by itself. Returns the rows of each sweep, one series and costs
    after another, with a column `series` and those costs that differ in front. The
    metadata's winner is the best Sharpe ratio of all, and its luck counts everything that
    was tried, on whatever series.
    With `out`, each sweep keeps its blocks in a folder of its own there, and `resume` goes
    on after a crash.

    Raises:
        InvalidInput: as `sweep` (says which series); also no series or no costs, or one of
            them twice.
        StoreUnavailable: `out` can't be written.
    """
    several = [costs] if costs is None or isinstance(costs, Costs | Mapping) else costs
    paid = [Costs.of(one) for one in several]
    if not candles or not paid:
        raise InvalidInput("a sweep across series needs at least one series and one of costs")
    if len(set(paid)) < len(paid):
        raise InvalidInput("the same costs are named twice")
    folder = None if out is None else Path(out)
    if folder is not None and not resume and any(folder.glob("*/sweep.json")):
        raise InvalidInput(f"{folder} already holds sweeps: resume them, or name another folder")
    grid = {name: list(values) for name, values in grid.items()} if grid is not None else None
    differing = [name for name in COSTS_TRIED if len({getattr(one, name) for one in paid}) > 1]
    names = _folder_names(candles)
    meter: Meter | None = None
    found: list[pa.Table] = []
    made: list[dict[str, Any]] = []
    for (series, table), (number, one) in product(candles.items(), enumerate(paid)):
        try:
            swept = sweep(
                table,
                strategy,
                grid,
                costs=one,
                out=None if folder is None else folder / f"{names[series]}-{number}",
                resume=resume,
                **options,
            )
        except InvalidInput as exc:
            raise InvalidInput(f"{series}: {exc}") from exc
        made.append(metadata_of(swept))
        meter = meter or Meter(swept.num_rows * len(candles) * len(paid), 0, progress)
        meter.add(swept.num_rows)
        found.append(_labelled(swept, series, {name: getattr(one, name) for name in differing}))
    whole = pa.concat_tables(found, promote_options="default").combine_chunks()
    return with_metadata(
        whole,
        {
            "provenance": [one["provenance"] for one in made],
            "sets": sum(one["sets"] for one in made),
            "ruled_out": sum(one["ruled_out"] for one in made),
            "failed": sum(one["failed"] for one in made),
            "winner": _winner(whole, found, candles, len(paid), differing),
        },
    )


def _labelled(swept: pa.Table, series: str, costs: Mapping[str, float]) -> pa.Table:
    columns: dict[str, Any] = {"series": pa.array([series] * swept.num_rows)}
    columns |= {name: np.full(swept.num_rows, value) for name, value in costs.items()}
    columns |= {name: swept.column(name) for name in swept.column_names}
    return pa.table(columns)


def _winner(
    whole: pa.Table,
    found: Sequence[pa.Table],
    candles: Mapping[str, Any],
    paid: int,
    differing: Sequence[str],
) -> dict[str, Any]:
    """The best of all; its neighbours are those on its own series, under its own costs."""
    sharpe = whole.column("sharpe").to_numpy(zero_copy_only=False).astype(np.float64)
    if not np.isfinite(sharpe).any():
        return {}
    place = int(np.nanargmax(np.where(np.isfinite(sharpe), sharpe, np.nan)))
    starts = np.cumsum([0, *(table.num_rows for table in found)])
    number = int(np.searchsorted(starts, place, side="right")) - 1
    own = found[number]
    arrays = candle_arrays(list(candles.values())[number // paid])
    first = own.column_names.index("total_return")
    labels = ["series", *differing]
    parameters = [name for name in own.column_names[:first] if name not in labels]
    best = winner(whole, [*labels, *parameters], len(arrays.close), Market.of(arrays))
    return best | {"sensitivity": sensitivity(own, parameters, place - int(starts[number]))}


def _folder_names(candles: Mapping[str, Any]) -> dict[str, str]:
    names = {series: re.sub(r"[^A-Za-z0-9]+", "-", series).strip("-") for series in candles}
    if len(set(names.values())) < len(names):
        raise InvalidInput(f"series must differ in letters or digits: {', '.join(candles)}")
    return names
