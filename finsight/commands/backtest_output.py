"""How a backtest is printed: the figures, what they rest on, and how much of them is luck."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from finsight.commands.show import console, print_table, write_json
from finsight.domain.backtest_record import BacktestRecord, differing_conditions
from finsight.domain.errors import InvalidInput
from finsight.services.backtest_words import FIRST, doubts, title_of, told, what_made_it

_SWEEP_ROWS = 5


def print_record(record: BacktestRecord, tables: Mapping[str, pa.Table]) -> None:
    """Print one backtest whole, its winners never without the luck figures."""
    figures = record.figures
    _say(title_of(record))
    for line in what_made_it(record):
        _say(line)
    console.print()
    _print_statistics(figures)
    if record.request.kind == "sweep":
        _print_sweep(record, tables["sets"])
    if record.request.kind == "walk-forward":
        _print_folds(figures, tables["folds"])
    console.print()
    for line in doubts(record):
        _say(line)


def print_list(records: list[BacktestRecord]) -> None:
    """Print one line a backtest, newest first."""
    rows = []
    for record in records:
        statistics = record.figures["statistics"]
        rows.append(
            (
                record.id,
                f"{record.made_at:%Y-%m-%d %H:%M}",
                record.request.kind,
                record.request.strategy,
                told("total_return", statistics.get("total_return")),
                told("total_return", record.figures["buy_and_hold"].get("total_return")),
                told("sharpe", statistics.get("sharpe")),
                _luck_cell(record),
                Path(record.request.source).name
                if record.request.source.endswith(".parquet")
                else record.request.source,
            )
        )
    columns = (
        "id", "made", "kind", "strategy", "return", "held", "sharpe", "deflated", "candles"
    )  # fmt: skip
    print_table("Backtests", columns, rows)


def print_compared(records: list[BacktestRecord]) -> None:
    """Print the figures side by side, and first what keeps them from being compared."""
    differ = differing_conditions(records)
    if differ:
        _say(f"not the same for all: {', '.join(differ)}; the figures differ for that reason too")
    for record in records:
        _say(f"{record.id}  {title_of(record)}; {record.request.source}")
    rows = [
        (name.replace("_", " "), *(told(name, r.figures["statistics"].get(name)) for r in records))
        for name in FIRST
    ]
    held = [told("total_return", r.figures["buy_and_hold"].get("total_return")) for r in records]
    late = [told("total_return", r.figures["one_candle_late"].get("total_return")) for r in records]
    luck = [_luck_cell(record) for record in records]
    rows += [("buy and hold", *held), ("one candle late", *late), ("deflated sharpe", *luck)]
    print_table("", ("", *(record.id for record in records)), rows)


def write_out(file: Path, record: BacktestRecord, tables: Mapping[str, pa.Table]) -> None:
    """Write what `--out` asks for. Raises: InvalidInput."""
    table = tables["sets" if record.request.kind == "sweep" else "trades"]
    if file.suffix == ".json":
        write_json(record.model_dump(mode="json"), file)
    elif file.suffix == ".csv":
        pyarrow.csv.write_csv(table, file)
    else:
        pq.write_table(table, file)


def check_out(file: Path | None, endings: tuple[str, ...]) -> None:
    """Refuse a file that can't be written, before the work. Raises: InvalidInput."""
    if file is None:
        return
    if file.suffix not in endings:
        raise InvalidInput(f"{file} must end in {' or '.join(endings)}")
    if not file.absolute().parent.is_dir():
        raise InvalidInput(f"there is no folder {file.absolute().parent} to write {file.name} in")


def _print_statistics(figures: Mapping[str, Any]) -> None:
    columns = {
        "strategy": figures["statistics"],
        "buy and hold": figures["buy_and_hold"],
        "one candle late": figures["one_candle_late"],
    }
    shown = {title: values for title, values in columns.items() if values}
    rows = [
        (name.replace("_", " "), *(told(name, values.get(name)) for values in shown.values()))
        for name in FIRST
        if any(name in values for values in shown.values())
    ]
    print_table("", ("", *shown), rows)


def _print_sweep(record: BacktestRecord, table: pa.Table) -> None:
    figures = record.figures
    counts = f"{figures['sets']:,} sets tried, {figures['ruled_out']:,} ruled out by the strategy"
    _say(counts + (f", {figures['failed']:,} failed" if figures["failed"] else ""))
    if figures["luck"] is None:
        _say("no parameter set has a Sharpe ratio: none of them traded")
        return
    # Undefined ones last: nan sorts before nothing.
    keyed = table.append_column(
        "rank",
        pa.compute.fill_null(
            pa.compute.if_else(pa.compute.is_finite(table["sharpe"]), table["sharpe"], None), -1e300
        ),
    )
    best = keyed.sort_by([("rank", "descending")]).slice(0, _SWEEP_ROWS)
    names = [*figures["parameters"], "total_return", "sharpe", "max_drawdown", "trades"]
    rows = [tuple(told(name, row[name]) for name in names) for row in best.to_pylist()]
    print_table("", [name.replace("_", " ") for name in names], rows)


def _print_folds(figures: Mapping[str, Any], folds: pa.Table) -> None:
    metric = figures["metric"]
    names = [
        name
        for name in folds.column_names
        if name not in ("train_from", "train_to", "test_to", "buy_and_hold_return")
    ]
    rows = [tuple(told(name, row[name]) for name in names) for row in folds.to_pylist()]
    print_table("", [name.replace("_", " ") for name in names], rows)
    notes = figures["notes"]
    _say(
        f"{metric} {told(metric, notes['in_sample'])} where it was chosen, "
        f"{told(metric, notes['out_of_sample'])} where it was judged, on average over "
        f"{notes['folds']} folds"
    )


def _luck_cell(record: BacktestRecord) -> str:
    luck = record.figures.get("luck")
    return told("", luck["deflated_sharpe"]) if luck else ""


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)
