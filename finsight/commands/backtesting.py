"""Commands that test strategies on stored candles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finsight.commands.backtest_known import ForecastFile, SentimentFile, with_what_was_known
from finsight.commands.backtest_options import (
    CandleFile,
    ExecutedAt,
    Fee,
    Grid,
    Out,
    Parameters,
    Report,
    Sample,
    SamplingHow,
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
from finsight.commands.backtest_output import check_out
from finsight.commands.backtest_records import register as register_records
from finsight.commands.backtest_work import carry_out_and_keep, on_ray
from finsight.commands.operating import AsJson
from finsight.domain.backtest_record import Folds, Luck, SweepMeans
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Sampling, one_of
from finsight.settings import Settings

backtest = typer.Typer(help="Test strategies on past candles.", no_args_is_help=True)
_TABLE_ENDINGS = (".parquet", ".csv", ".json")


def register(app: typer.Typer) -> None:
    """Add this group's commands to `app`."""
    register_records(backtest)
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
    sentiment: SentimentFile = None,
    forecast: ForecastFile = None,
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
    asked = with_what_was_known(settings, asked, strategy, sentiment, forecast)
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
    sampling: SamplingHow = "random",
    seed: Seed = 0,
    fee: Fee = None,
    slippage: Slippage = 0.0,
    venue: Venue = None,
    execution: ExecutedAt = "next_open",
    direction: Side = "long",
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    trailing_stop: TrailingStop = None,
    sentiment: SentimentFile = None,
    forecast: ForecastFile = None,
    luck_sets: Annotated[
        int, typer.Option(help="Sets of the grid that the overfitting and permutation tests take.")
    ] = 500,
    shuffles: Annotated[int, typer.Option(help="Histories of the permutation test.")] = 39,
    parts: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep each block as soon as it is done.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the blocks in --parts.")] = False,
    memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", help="What the sweep may add; unset: no limit."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Spread over a Ray cluster: auto, or its address."),
    ] = None,
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
    asked = with_what_was_known(settings, asked, strategy, sentiment, forecast)
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
        sampling=one_of(Sampling, sampling, "sampling"),
        seed=seed,
        luck=Luck(sets=luck_sets, shuffles=shuffles),
    )
    limit = None if memory is None else int(memory * 2**30)
    means = SweepMeans(parts, resume, limit)
    with on_ray(ray):
        carry_out_and_keep(settings, request, asked, as_json, out, report, means)


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
    sampling: SamplingHow = "random",
    seed: Seed = 0,
    fee: Fee = None,
    slippage: Slippage = 0.0,
    venue: Venue = None,
    execution: ExecutedAt = "next_open",
    direction: Side = "long",
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    trailing_stop: TrailingStop = None,
    sentiment: SentimentFile = None,
    forecast: ForecastFile = None,
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
    asked = with_what_was_known(settings, asked, strategy, sentiment, forecast)
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
        sampling=one_of(Sampling, sampling, "sampling"),
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


def _stops(
    stop_loss: float | None, take_profit: float | None, trailing_stop: float | None
) -> dict[str, float | None]:
    return {"stop_loss": stop_loss, "take_profit": take_profit, "trailing_stop": trailing_stop}


def _check_files(out: Path | None, report: Path | None) -> None:
    check_out(out, _TABLE_ENDINGS)
    check_out(report, (".html",))
