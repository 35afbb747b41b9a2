"""Commands that test strategies on stored candles."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from finsight.commands.backtest_options import (
    AskedCandles,
    CandleFile,
    ExecutedAt,
    Fee,
    Grid,
    Out,
    Parameters,
    Report,
    Sample,
    Seed,
    SeriesNamed,
    Side,
    Since,
    Slippage,
    StopLoss,
    StrategyNamed,
    TakeProfit,
    TrailingStop,
    Until,
    Venue,
    asked_candles,
    asked_costs,
    asked_grid,
    asked_parameters,
    asked_request,
)
from finsight.commands.backtest_output import check_out, print_record, write_out
from finsight.commands.operating import AsJson
from finsight.commands.show import console, errors, print_json
from finsight.domain.backtest_record import BacktestRecord, BacktestRequest, Folds, Luck
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.settings import Settings
from finsight.wiring import open_backtest_store, open_clock

backtest = typer.Typer(help="Test strategies on past candles.", no_args_is_help=True)
_TABLE_ENDINGS = (".parquet", ".csv", ".json")


def register(app: typer.Typer) -> None:
    """Add this group's commands to `app`."""
    from finsight.commands import backtest_records

    backtest_records.register(backtest)
    app.add_typer(backtest, name="backtest")


@backtest.command("run")
def run(
    series: SeriesNamed = None,
    candles: CandleFile = None,
    since: Since = None,
    until: Until = None,
    strategy: StrategyNamed = "ma_cross",
    param: Parameters = None,
    fee: Fee = None,
    slippage: Slippage = 0.0,
    venue: Venue = None,
    execution: ExecutedAt = "next_open",
    direction: Side = "long",
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    trailing_stop: TrailingStop = None,
    as_json: AsJson = False,
    out: Out = None,
    report: Report = None,
) -> None:
    """Test one strategy with one set of parameters, beside buying and holding.

    Example: finsight backtest run binance BTC/USDT 1h --param fast=20 --param slow=100
    """
    _check_files(out, report)
    settings = Settings.load()
    asked = asked_candles(settings, series, candles, since, until)
    request = asked_request(
        "run",
        asked,
        strategy,
        execution,
        direction,
        asked_costs(fee, slippage, venue, asked.exchange),
        _stops(stop_loss, take_profit, trailing_stop),
        parameters=asked_parameters(param),
    )
    carry_out_and_keep(settings, request, asked, as_json, out, report)


@backtest.command("sweep")
def sweep(
    series: SeriesNamed = None,
    candles: CandleFile = None,
    since: Since = None,
    until: Until = None,
    strategy: StrategyNamed = "ma_cross",
    grid: Grid = None,
    param: Parameters = None,
    sample: Sample = None,
    seed: Seed = 0,
    fee: Fee = None,
    slippage: Slippage = 0.0,
    venue: Venue = None,
    execution: ExecutedAt = "next_open",
    direction: Side = "long",
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    trailing_stop: TrailingStop = None,
    luck_sets: Annotated[
        int, typer.Option(help="Sets of the grid that the overfitting and permutation tests take.")
    ] = 500,
    shuffles: Annotated[int, typer.Option(help="Histories of the permutation test.")] = 39,
    parts: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep each block as soon as it is done.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the blocks in --parts.")] = False,
    as_json: AsJson = False,
    out: Out = None,
    report: Report = None,
) -> None:
    """Try every set of a grid; the winner is shown with how much of it is luck.

    Example: finsight backtest sweep binance BTC/USDT 1h --grid fast=5:55 --grid slow=10:200:5
    """
    _check_files(out, report)
    if resume and parts is None:
        raise InvalidInput("--resume needs the folder of the blocks: --parts FOLDER")
    if not (2 <= luck_sets <= 5_000 and 0 <= shuffles <= 10_000):
        raise InvalidInput("--luck-sets must be 2 to 5,000, and --shuffles 0 to 10,000")
    settings = Settings.load()
    values = asked_grid(grid, param, sample)
    asked = asked_candles(settings, series, candles, since, until)
    request = asked_request(
        "sweep",
        asked,
        strategy,
        execution,
        direction,
        asked_costs(fee, slippage, venue, asked.exchange),
        _stops(stop_loss, take_profit, trailing_stop),
        grid=values,
        sample=sample,
        seed=seed,
        luck=Luck(sets=luck_sets, shuffles=shuffles),
    )
    carry_out_and_keep(settings, request, asked, as_json, out, report, parts, resume)


@backtest.command("walk-forward")
def walk_forward(
    train: Annotated[int, typer.Option(help="Candles to choose the parameters on.")],
    test: Annotated[int, typer.Option(help="Candles to judge them on, after those.")],
    series: SeriesNamed = None,
    candles: CandleFile = None,
    since: Since = None,
    until: Until = None,
    strategy: StrategyNamed = "ma_cross",
    grid: Grid = None,
    param: Parameters = None,
    purge: Annotated[int, typer.Option(help="Candles not trained on, before the judging.")] = 0,
    embargo: Annotated[int, typer.Option(help="Candles not traded, after the training.")] = 0,
    anchored: Annotated[bool, typer.Option(help="Train on all the past there is.")] = False,
    metric: Annotated[str, typer.Option(help="The statistic that chooses.")] = "sharpe",
    sample: Sample = None,
    seed: Seed = 0,
    fee: Fee = None,
    slippage: Slippage = 0.0,
    venue: Venue = None,
    execution: ExecutedAt = "next_open",
    direction: Side = "long",
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    trailing_stop: TrailingStop = None,
    as_json: AsJson = False,
    out: Out = None,
    report: Report = None,
) -> None:
    """Choose parameters on the past, judge them on the stretch after it, and roll on.

    Example: finsight backtest walk-forward binance BTC/USDT 1h --grid fast=5:50:5
    --grid slow=20:200:20 --train 2000 --test 500
    """
    _check_files(out, report)
    settings = Settings.load()
    values = asked_grid(grid, param, sample)
    asked = asked_candles(settings, series, candles, since, until)
    request = asked_request(
        "walk-forward",
        asked,
        strategy,
        execution,
        direction,
        asked_costs(fee, slippage, venue, asked.exchange),
        _stops(stop_loss, take_profit, trailing_stop),
        grid=values,
        sample=sample,
        seed=seed,
        folds=Folds(
            train=train,
            test=test,
            purge=purge,
            embargo=embargo,
            anchored=anchored,
            metric=metric,
        ),
    )
    carry_out_and_keep(settings, request, asked, as_json, out, report)


def carry_out_and_keep(
    settings: Settings,
    request: BacktestRequest,
    asked: AskedCandles,
    as_json: bool,
    out: Path | None,
    report: Path | None,
    parts: Path | None = None,
    resume: bool = False,
) -> None:
    """Do it, keep it, show it. Raises: InvalidInput, StoreUnavailable."""
    record, tables = carried_out(settings, request, asked.candles, parts, resume)
    store = open_backtest_store(settings)
    asyncio.run(store.save(record, tables, asked.candles))
    record = asyncio.run(store.get(record.id))
    if out is not None:
        write_out(out, record, tables)
    if report is not None:
        from finsight.services.backtest_report import report_page

        report.write_text(report_page(record, tables, asked.candles))
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    print_record(record, tables)
    for note in asked.notes:
        console.print(f"note             {note}", markup=False, soft_wrap=True)
    console.print(f"\nkept: finsight backtest show {record.id}", markup=False)


def carried_out(
    settings: Settings,
    request: BacktestRequest,
    candles: CandleTable,
    parts: Path | None = None,
    resume: bool = False,
) -> tuple[BacktestRecord, dict[str, pa.Table]]:
    """Do what was asked for, and tell on the way how far it is. Raises: InvalidInput."""
    from finsight.backtesting.blocks import Progress as Done
    from finsight.backtesting.requested import carry_out

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} % {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(request.strategy, total=None, rate="")

        def tell(done: Done) -> None:
            left = "" if done.left_s is None else f", {done.left_s:,.0f} s left"
            rate = f"{done.done:,} of {done.total:,} sets, {done.sets_per_s:,.0f}/s{left}"
            bar.update(task, total=done.total, completed=done.done, rate=rate)

        outcome = carry_out(request, candles, tell, parts, resume)
    record = BacktestRecord(
        id=f"bt-{uuid.uuid4().hex[:8]}",
        made_at=open_clock(settings).now(),
        request=request,
        provenance=outcome.provenance,
        figures=outcome.figures,
    )
    return record, outcome.tables


def _stops(
    stop_loss: float | None, take_profit: float | None, trailing_stop: float | None
) -> dict[str, float | None]:
    return {"stop_loss": stop_loss, "take_profit": take_profit, "trailing_stop": trailing_stop}


def _check_files(out: Path | None, report: Path | None) -> None:
    check_out(out, _TABLE_ENDINGS)
    check_out(report, (".html",))
