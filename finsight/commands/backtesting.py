"""Commands that test strategies on stored candles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finsight.commands.backtest_candles import (
    AskedCandles,
    CandleFiles,
    SeriesNamed,
    Since,
    Until,
    asked_series,
    only_one,
)
from finsight.commands.backtest_known import ForecastFile, SentimentFile, with_what_was_known
from finsight.commands.backtest_options import (
    ExecutedAt,
    Fee,
    Fees,
    Grid,
    Out,
    Parameters,
    RayAddress,
    Rebalance,
    Report,
    Sample,
    SamplingHow,
    Seed,
    Side,
    Slippage,
    Slippages,
    StopLoss,
    StrategyNamed,
    TakeProfit,
    TrailingStop,
    Venue,
    Weights,
    asked_costs,
    asked_grid,
    asked_parameters,
    asked_request,
    asked_weights,
    costs_to_try,
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
    candles: CandleFiles = None,
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
    weight: Weights = None,
    rebalance: Rebalance = None,
    sentiment: SentimentFile = None,
    forecast: ForecastFile = None,
    as_json: AsJson = False,
    out: Out = None,
    report: Report = None,
) -> None:
    """Test one strategy with one set of parameters, beside buying and holding.

    Several series share one cash account: each that is in has its weight of it.

    Example: finsight backtest run binance BTC/USDT 1h --param fast=20 --param slow=100

    Example: finsight backtest run binance BTC/USDT 1h binance ETH/USDT 1h --rebalance 24
    """
    _check_files(out, report)
    settings = Settings.load()
    asked = asked_series(settings, series, candles, since, until)
    asked = with_what_was_known(settings, asked, strategy, sentiment, forecast)
    together = len(asked) > 1
    if not together and (weight or rebalance is not None):
        raise InvalidInput("--weight and --rebalance are for several series on one account")
    request = asked_request(
        "together" if together else "run",
        asked,
        strategy,
        execution,
        direction,
        asked_costs(fee, slippage, venue, _exchanges(asked)),
        _stops(stop_loss, take_profit, trailing_stop),
        parameters=asked_parameters(param),
        weights=asked_weights(weight, [one.source for one in asked]),
        rebalance=rebalance,
    )
    carry_out_and_keep(settings, request, asked, as_json, out, report)


@backtest.command("sweep")
def sweep(
    series: SeriesNamed = None,
    candles: CandleFiles = None,
    since: Since = None,
    until: Until = None,
    strategy: StrategyNamed = "ma_cross",
    grid: Grid = None,
    param: Parameters = None,
    sample: Sample = None,
    sampling: SamplingHow = "random",
    seed: Seed = 0,
    fee: Fees = None,
    slippage: Slippages = None,
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
    ray: RayAddress = None,
    as_json: AsJson = False,
    out: Out = None,
    report: Report = None,
) -> None:
    """Try every set of a grid; the winner is shown with how much of it is luck.

    Of several series, fees and slippages each is tried with every set, and luck counts all.

    Example: finsight backtest sweep binance BTC/USDT 1h --grid fast=5:55 --grid slow=10:200:5

    Example: finsight backtest sweep binance BTC/USDT 1h binance ETH/USDT 4h --fee 0.001
    --fee 0.002 --grid fast=5:55 --grid slow=10:200:5
    """
    _check_files(out, report)
    if resume and parts is None:
        raise InvalidInput("--resume needs the folder of the blocks: --parts FOLDER")
    if not (2 <= luck_sets <= 5_000 and 0 <= shuffles <= 10_000):
        raise InvalidInput("--luck-sets must be 2 to 5,000, and --shuffles 0 to 10,000")
    settings = Settings.load()
    values = asked_grid(grid, param, sample)
    asked = asked_series(settings, series, candles, since, until)
    costs = costs_to_try(fee, slippage, venue, _exchanges(asked))
    asked = with_what_was_known(settings, asked, strategy, sentiment, forecast)
    request = asked_request(
        "sweep",
        asked,
        strategy,
        execution,
        direction,
        costs[0],
        _stops(stop_loss, take_profit, trailing_stop),
        costs_tried=costs if len(costs) > 1 else (),
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
    candles: CandleFiles = None,
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
    ray: RayAddress = None,
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
    asked = asked_series(settings, series, candles, since, until)
    only_one(asked, "walk-forward")
    asked = with_what_was_known(settings, asked, strategy, sentiment, forecast)
    request = asked_request(
        "walk-forward",
        asked,
        strategy,
        execution,
        direction,
        asked_costs(fee, slippage, venue, _exchanges(asked)),
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
    with on_ray(ray):
        carry_out_and_keep(settings, request, asked, as_json, out, report)


def _stops(
    stop_loss: float | None, take_profit: float | None, trailing_stop: float | None
) -> dict[str, float | None]:
    return {"stop_loss": stop_loss, "take_profit": take_profit, "trailing_stop": trailing_stop}


def _exchanges(asked: list[AskedCandles]) -> list[str | None]:
    return [one.exchange for one in asked]


def _check_files(out: Path | None, report: Path | None) -> None:
    check_out(out, _TABLE_ENDINGS)
    check_out(report, (".html",))
