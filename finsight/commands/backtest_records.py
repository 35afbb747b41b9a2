"""Commands on backtests that were kept, and the look-ahead check by itself."""

from __future__ import annotations

import asyncio
from typing import Annotated

import pyarrow as pa
import typer

from finsight.commands.backtest_candles import (
    CandleFiles,
    SeriesNamed,
    Since,
    Until,
    asked_series,
    only_one,
)
from finsight.commands.backtest_known import ForecastFile, SentimentFile, with_what_was_known
from finsight.commands.backtest_options import (
    Parameters,
    Report,
    StrategyNamed,
    asked_parameters,
    let_import_from_here,
)
from finsight.commands.backtest_output import check_out, print_compared, print_list, print_record
from finsight.commands.backtest_work import carried_out
from finsight.commands.operating import AsJson
from finsight.commands.show import console, print_json
from finsight.domain.backtest_record import differing_conditions, differing_figures
from finsight.domain.errors import InvalidInput
from finsight.domain.known_values import FORECAST, SENTIMENT, KnownValues, with_known
from finsight.settings import Settings
from finsight.wiring import open_backtest_store

BacktestId = Annotated[str, typer.Argument(metavar="ID", help="As `finsight backtest list` says.")]


def register(backtest: typer.Typer) -> None:
    """Add this group's commands to `backtest`."""
    backtest.command("check")(check)
    backtest.command("list")(list_backtests)
    backtest.command("show")(show)
    backtest.command("rerun")(rerun)
    backtest.command("compare")(compare)


def check(
    series: SeriesNamed = None,
    candles: CandleFiles = None,
    since: Since = None,
    until: Until = None,
    strategy: StrategyNamed = "ma_cross",
    param: Parameters = None,
    sentiment: SentimentFile = None,
    forecast: ForecastFile = None,
    histories: Annotated[int, typer.Option(help="How many truncated histories to compare.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Look for look-ahead: signals that change when the candles after them are taken away.

    Exits 1 when there is some; it names the first candle and the column read too early.

    Example: finsight backtest check binance BTC/USDT 1h --strategy my_module:my_strategy
    """
    from finsight.backtesting.look_ahead import check as look_for_it

    settings = Settings.load()
    found = asked_series(settings, series, candles, since, until)
    asked = only_one(with_what_was_known(settings, found, strategy, sentiment, forecast), "check")
    let_import_from_here(strategy)
    beside = with_known(asked.candles, **asked.known)
    seen = look_for_it(beside, strategy, asked_parameters(param), histories)
    if as_json:
        print_json(seen.model_dump(mode="json"))
    elif seen.found:
        console.print(
            f"look-ahead in {strategy}: it reads {seen.input} too early\n{seen.detail}",
            markup=False,
            soft_wrap=True,
        )
    else:
        console.print(f"no look-ahead in {seen.histories} truncated histories", markup=False)
    if seen.found:
        raise typer.Exit(1)


def list_backtests(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the backtests that were kept, newest first.

    Example: finsight backtest list --limit 5
    """
    records = asyncio.run(open_backtest_store(Settings.load()).recent(limit))
    if as_json:
        print_json([record.model_dump(mode="json") for record in records])
    elif records:
        print_list(records)
    else:
        console.print("no backtest was kept yet")


def show(backtest_id: BacktestId, as_json: AsJson = False, report: Report = None) -> None:
    """Show one backtest again, with what made it.

    Example: finsight backtest show bt-1a2b3c4d
    """
    store = open_backtest_store(Settings.load())
    check_out(report, (".html",))
    record = asyncio.run(store.get(backtest_id))
    if report is not None:
        from finsight.services.backtest_report import report_page

        all_tables = {name: asyncio.run(store.table(record.id, name)) for name in record.tables}
        page = report_page(record, all_tables, asyncio.run(store.candles(record.id)))
        report.write_text(page)
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    wanted = [name for name in record.tables if name in ("sets", "folds")]
    tables = {name: asyncio.run(store.table(record.id, name)) for name in wanted}
    print_record(record, tables)
    made_by = record.provenance
    console.print(
        f"\nmade {record.made_at:%Y-%m-%d %H:%M} UTC by engine {made_by.engine_version}, "
        f"seed {record.request.seed}, candles "
        f"{', '.join(record.fingerprints.values())}",
        markup=False,
        soft_wrap=True,
    )


def compare(
    backtest_ids: Annotated[
        list[str], typer.Argument(metavar="ID ID …", help="As `finsight backtest list` says.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show backtests side by side, and whether they can be compared at all.

    Example: finsight backtest compare bt-1a2b3c4d bt-5e6f7a8b
    """
    if len(backtest_ids) < 2:
        raise InvalidInput("name at least two backtests; `finsight backtest list` shows them")
    store = open_backtest_store(Settings.load())
    records = [asyncio.run(store.get(one)) for one in backtest_ids]
    if as_json:
        print_json(
            {
                "differ_in": differing_conditions(records),
                "backtests": [record.model_dump(mode="json") for record in records],
            }
        )
        return
    print_compared(records)


def rerun(backtest_id: BacktestId, as_json: AsJson = False) -> None:
    """Do a backtest again on the candles that it saw, and compare every figure.

    Exits 1 when one is not the same to the bit. Nothing new is kept.

    Example: finsight backtest rerun bt-1a2b3c4d
    """
    from finsight.backtesting.requested import known_table

    settings = Settings.load()
    store = open_backtest_store(settings)
    before = asyncio.run(store.get(backtest_id))
    let_import_from_here(before.request.strategy)
    candles = asyncio.run(store.candles(before.id))
    known = {
        series: {
            kind: KnownValues.from_arrow(asyncio.run(store.table(before.id, name)), name)
            for kind in (SENTIMENT, FORECAST)
            if (name := known_table(kind, place)) in before.tables
        }
        for place, series in enumerate(candles)
    }
    after, tables = carried_out(settings, before.request, candles, known=known)
    differ = differing_figures(before.figures, after.figures)
    for name in before.tables:
        kept = asyncio.run(store.table(before.id, name))
        if not kept.equals(tables[name]) and not _same_with_nan(kept, tables[name]):
            differ.append(f"the table {name}")
    other_engine = before.provenance.engine_version != after.provenance.engine_version
    if as_json:
        print_json(
            {
                "id": before.id,
                "same": not differ,
                "differ": differ,
                "same_engine": not other_engine,
                "figures": after.figures,
            }
        )
    else:
        if other_engine:
            console.print("the engine's code has changed since")
        said = f"{len(differ)} figures differ: {', '.join(differ[:10])}" if differ else "the same"
        console.print(f"{before.id}: {said}", markup=False, soft_wrap=True)
    if differ:
        raise typer.Exit(1)


def _same_with_nan(a: pa.Table, b: pa.Table) -> bool:
    """Equal to the bit, undefined figures included, which Arrow calls unequal."""
    return bool(a.schema.equals(b.schema)) and a.to_pandas().equals(b.to_pandas())
