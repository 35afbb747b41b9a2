"""How a backtest is printed: the figures, what they rest on, and how much of them is luck."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from finsight.commands.show import console, print_table, write_json
from finsight.domain.backtest_record import BacktestRecord
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import from_ms

_SHARES = (
    "total_return", "annual_return", "volatility", "max_drawdown", "average_drawdown", "exposure",
    "win_rate", "best_trade", "worst_trade", "average_trade", "expectancy", "alpha", "kelly",
)  # fmt: skip
_FIRST = (
    "total_return", "annual_return", "volatility", "sharpe", "sortino", "calmar", "omega",
    "max_drawdown", "max_drawdown_days", "exposure", "trades", "win_rate", "profit_factor",
    "fees_paid", "turnover", "alpha", "beta",
)  # fmt: skip
_SWEEP_ROWS = 5


def print_record(record: BacktestRecord, tables: Mapping[str, pa.Table]) -> None:
    """Print one backtest whole, its winners never without the luck figures."""
    figures = record.figures
    made = _told_parameters(figures.get("parameters"))
    what = record.request.strategy + (f"({made})" if made else "")
    if record.request.kind == "sweep":
        what = f"best of {figures['sets']:,} sets of {record.request.strategy}: {what}"
    if record.request.kind == "walk-forward":
        what = f"{what}, out of sample: parameters chosen on the past alone"
    _say(what)
    for line in _what_made_it(record):
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


def doubts(record: BacktestRecord) -> list[str]:
    """What a reader has to know before believing the figures, a line each."""
    figures, made_by = record.figures, record.provenance
    missing = made_by.missing
    lines = [
        f"candles          {missing.candles:,} missing in {missing.holes:,} places, the longest "
        f"{missing.longest:,}; nothing was filled in"
        if missing.candles
        else "candles          none missing"
    ]
    seen = made_by.look_ahead
    if seen.found is None:
        lines.append("look-ahead       not checked")
    elif seen.found:
        lines.append(f"look-ahead       FOUND, these figures are worthless: {seen.detail}")
    else:
        lines.append(f"look-ahead       none found in {seen.histories} truncated histories")
    late = figures["one_candle_late"].get("total_return")
    if late is not None:
        now = figures["statistics"]["total_return"]
        lines.append(
            f"one candle late  {_cell('total_return', late)} instead of "
            f"{_cell('total_return', now)}: what is gone then was never there to be earned"
        )
    if made_by.execution == "close":
        lines.append("execution        at the very price the signal was computed from")
    if record.request.kind == "sweep":
        lines += _luck_lines(figures.get("luck"))
    return lines


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
                record.request.source,
                _cell("total_return", statistics.get("total_return")),
                _cell("total_return", record.figures["buy_and_hold"].get("total_return")),
                _cell("sharpe", statistics.get("sharpe")),
                _luck_cell(record),
            )
        )
    columns = (
        "id", "made", "kind", "strategy", "candles", "return", "held", "sharpe", "deflated"
    )  # fmt: skip
    print_table("Backtests", columns, rows)


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


def _what_made_it(record: BacktestRecord) -> list[str]:
    request, made_by = record.request, record.provenance
    stops = ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in request.stops.model_dump().items()
        if value is not None
    )
    first, last = from_ms(made_by.first_opened_ms), from_ms(made_by.last_opened_ms)
    executed = "next candle's open" if request.execution == "next_open" else "signal's own close"
    return [
        f"{request.source}, {made_by.candles:,} candles, {first:%Y-%m-%d %H:%M} to "
        f"{last:%Y-%m-%d %H:%M} UTC",
        f"{request.direction}, orders at the {executed}, fee {request.costs.fee:.3%}, slippage "
        f"{request.costs.slippage:.3%}" + (f", {stops}" if stops else ""),
    ]


def _print_statistics(figures: Mapping[str, Any]) -> None:
    columns = {
        "strategy": figures["statistics"],
        "buy and hold": figures["buy_and_hold"],
        "one candle late": figures["one_candle_late"],
    }
    shown = {title: values for title, values in columns.items() if values}
    rows = [
        (name.replace("_", " "), *(_cell(name, values.get(name)) for values in shown.values()))
        for name in _FIRST
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
    rows = [tuple(_cell(name, row[name]) for name in names) for row in best.to_pylist()]
    print_table("", [name.replace("_", " ") for name in names], rows)


def _print_folds(figures: Mapping[str, Any], folds: pa.Table) -> None:
    metric = figures["metric"]
    names = [
        name
        for name in folds.column_names
        if name not in ("train_from", "train_to", "test_to", "buy_and_hold_return")
    ]
    rows = [tuple(_cell(name, row[name]) for name in names) for row in folds.to_pylist()]
    print_table("", [name.replace("_", " ") for name in names], rows)
    notes = figures["notes"]
    _say(
        f"{metric} {_cell(metric, notes['in_sample'])} where it was chosen, "
        f"{_cell(metric, notes['out_of_sample'])} where it was judged, on average over "
        f"{notes['folds']} folds"
    )


def _luck_lines(luck: Mapping[str, Any] | None) -> list[str]:
    if luck is None:
        return ["luck             nothing to judge: no set has a Sharpe ratio"]
    deflated = luck["deflated_sharpe"]
    verdict = "significant" if luck["significant"] else "NOT significant: luck explains it"
    near = luck["sensitivity"]
    return [
        f"deflated Sharpe  {_cell('', deflated)} after {luck['trials']:,} trials, {verdict} "
        f"(0.95 is asked for); the best of as many worthless sets has a Sharpe ratio of "
        f"{luck['expected_best_sharpe_by_luck']:.2f}",
        f"around it        {near['shape']}"
        + (f": {near['neighbours']} neighbours, on average {near['average']:.2f}, "
           f"the worst {near['worst']:.2f}" if near["neighbours"] else ": no neighbours"),
        f"overfitting      {_cell('win_rate', luck['probability_of_overfitting'])} of "
        f"{luck['overfitting_splits']:,} splits put the winner of one half below the median of "
        f"the other, over {luck['overfitting_sets']:,} sets; picking blindly gives 50 %"
        if luck["probability_of_overfitting"] is not None
        else f"overfitting      not known: {luck['overfitting_missing']}",
        f"permutation      p = {luck['permutation_p_value']:.3f}: how often as good a winner "
        f"turned up in {luck['permutation_shuffles']} shuffled histories"
        if luck["permutation_p_value"] is not None
        else f"permutation      not known: {luck['permutation_missing']}",
    ]  # fmt: skip


def _luck_cell(record: BacktestRecord) -> str:
    luck = record.figures.get("luck")
    return _cell("", luck["deflated_sharpe"]) if luck else ""


def _told_parameters(values: Mapping[str, float] | None) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in (values or {}).items())


def _cell(name: str, value: Any) -> str:
    if value is None or value != value:
        return "–"
    if name in _SHARES:
        return f"{value:.2%}"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.2f}"


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)
