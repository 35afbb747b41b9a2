"""The command that judges forecasters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from finsight.commands.backtest_work import on_ray
from finsight.commands.operating import AsJson
from finsight.commands.show import console, errors, print_json, print_table
from finsight.commands.training import evaluate
from finsight.commands.which_series import named_moment
from finsight.domain.errors import InvalidInput
from finsight.domain.forecast_verdict import ForecasterVerdict, Judgement
from finsight.domain.promotion import CHAMPION
from finsight.domain.timeframe import Timeframe
from finsight.settings import Settings


@evaluate.command("forecaster")
def forecaster(
    timeframe: Annotated[str, typer.Argument(help="Of which candles, such as 1h.")] = "1h",
    version: Annotated[
        str, typer.Option(help="A version's number, champion or challenger.")
    ] = CHAMPION,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Forecast from then on; unset: all it never saw."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Forecast until then; unset: now.")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(help="Candles ahead; unset: as far as the version can.")
    ] = None,
    every: Annotated[
        int | None, typer.Option(help="Candles between origins; unset: a quarter of the horizon.")
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Such as binance:BTC-USDT:1h; unset: all stored."),
    ] = None,
    refit_every: Annotated[
        int | None,
        typer.Option(help="Train it anew every so many candles, on what came before."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Spread the origins over this cluster.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Write every forecast there.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw forecasts, errors, coverage there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a forecaster on candles that it never saw, beside naive.

    Example: finsight evaluate forecaster 1h --since 2026-01-01 --pictures pictures
    """
    if timeframe not in list(Timeframe):
        raise InvalidInput(f"'{timeframe}' is not a timeframe; known are {', '.join(Timeframe)}")
    from finsight.training.evaluate_forecaster import check_out, write_evaluation
    from finsight.training.forecaster_evaluation import Question, evaluate_forecaster
    from finsight.training.spread_judging import Done

    check_out(out, pictures)
    asked = Question(
        timeframe=Timeframe(timeframe),
        version=version,
        since=named_moment("--since", since),
        until=named_moment("--until", until),
        horizon=horizon,
        every=every,
        series=tuple(series or ()),
        refit_every=refit_every,
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} forecasts"),
        TimeRemainingColumn(),
    )
    with (
        on_ray(ray),
        Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar,
    ):
        task = bar.add_task("judging", total=0)

        def tell(done: Done) -> None:
            bar.update(task, total=done.of, completed=done.origins)

        evaluation = evaluate_forecaster(Settings.load(), asked, tell)
    write_evaluation(evaluation, out, pictures)
    if as_json:
        notes = {"notes": list(evaluation.notes)}
        print_json(evaluation.verdict.model_dump(mode="json") | notes)
        return
    print_verdict(evaluation.verdict)
    for note in evaluation.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    for written in filter(None, (out, pictures)):
        console.print(f"written: {written}", markup=False, soft_wrap=True)


def print_verdict(verdict: ForecasterVerdict) -> None:
    """Print what was found: the words, then a table by series and one by step."""
    console.print(
        f"{verdict.overall.origins:,} forecasts of {verdict.horizon} candles, from "
        f"{verdict.first_origin:%Y-%m-%d %H:%M} to {verdict.last_origin:%Y-%m-%d %H:%M} UTC, "
        f"every {verdict.every} candles",
        markup=False,
        soft_wrap=True,
    )
    for line in verdict.words:
        console.print(f"- {line}", markup=False, soft_wrap=True)
    console.print()
    groups = [("all", verdict.overall)]
    groups += [((one.series or "").rpartition(":")[0], one) for one in verdict.by_series]
    groups += [(f"{one.step} ahead", one) for one in verdict.by_step]
    print_table(
        "errors", ("", "MASE", "naive", "ratio", "p", "RMSSE", "pinball", "ratio", "p"),
        [(name, *_errors(one)) for name, one in groups],
    )  # fmt: skip
    console.print()
    print_table(
        "intervals and direction",
        ("", "80 %", "naive", "95 %", "naive", "width", "naive", "direction"),
        [(name, *_intervals(one)) for name, one in groups],
    )


def _errors(one: Judgement) -> tuple[str, ...]:
    return (
        f"{one.model.mase:.3f}",
        f"{one.naive.mase:.3f}",
        _told(one.mase_ratio, ".3f"),
        _told(one.dm_p, ".2g"),
        f"{one.model.rmsse:.3f}",
        f"{one.model.pinball:.4f}",
        _told(one.pinball_ratio, ".3f"),
        _told(one.dm_p_pinball, ".2g"),
    )


def _intervals(one: Judgement) -> tuple[str, ...]:
    direction = (
        ""
        if one.direction_share is None
        else f"{one.direction_share:.1%} ({one.direction_low:.0%}–{one.direction_high:.0%})"
    )
    return (
        f"{one.model.coverage_80:.1%}",
        f"{one.naive.coverage_80:.1%}",
        f"{one.model.coverage_95:.1%}",
        f"{one.naive.coverage_95:.1%}",
        f"{one.model.width_80:.2f}",
        f"{one.naive.width_80:.2f}",
        direction,
    )


def _told(value: float | None, how: str) -> str:
    return "" if value is None else format(value, how)
