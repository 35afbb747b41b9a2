"""Commands that train, search and judge forecasters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finsight.commands.training import train
from finsight.domain.errors import InvalidInput
from finsight.domain.forecaster_recipe import Family, Loss, Target
from finsight.domain.timeframe import Timeframe


@train.command("forecaster")
def forecaster(
    timeframe: Annotated[str, typer.Argument(help="Of which candles, such as 1h.")] = "1h",
    data: Annotated[
        Path | None,
        typer.Option(help="A CSV or Parquet file instead: long (unique_id, ds, y) or ETT-style."),
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(help="Of that file: rows of training,validation,test; or ett-hour."),
    ] = None,
    series: Annotated[
        list[str] | None, typer.Option(help="Only series named like this; may be repeated.")
    ] = None,
    family: Annotated[Family | None, typer.Option(help="Which network.")] = None,
    target: Annotated[
        Target | None, typer.Option(help="Log returns from the last close, or plain values.")
    ] = None,
    loss: Annotated[Loss | None, typer.Option(help="What is made small.")] = None,
    exogenous: Annotated[
        bool, typer.Option(help="See volume and sentiment too, as of when known (nhits, tide).")
    ] = False,
    instance_norm: Annotated[
        bool, typer.Option(help="Standardise each window by itself (RevIN).")
    ] = False,
    horizon: Annotated[int | None, typer.Option(help="Candles ahead.")] = None,
    input_size: Annotated[int | None, typer.Option(help="Candles looked back over.")] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps at most.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="End after so many checks without a better one.")
    ] = None,
    check_every: Annotated[int | None, typer.Option(help="Steps from check to check.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows of one step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest one.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides first weights and order.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of the training.")] = None,
    champion: Annotated[bool, typer.Option(help="Let it serve at once.")] = False,
    ray: Annotated[bool, typer.Option(help="On a Ray Train worker that may be lost.")] = False,
    state: Annotated[
        Path | None, typer.Option(help="A folder to keep the state in, and to go on from.")
    ] = None,
) -> None:
    """Train one model over every stored series of a timeframe, or over a file; register it.

    Example: finsight train forecaster 1h --family nhits --exogenous --steps 500
    """
    if timeframe not in list(Timeframe):
        raise InvalidInput(f"'{timeframe}' is not a timeframe; known are {', '.join(Timeframe)}")
    from finsight.training import train_forecaster

    options = {
        "--data": data,
        "--splits": splits,
        "--family": family,
        "--target": target,
        "--loss": loss,
        "--horizon": horizon,
        "--input-size": input_size,
        "--steps": steps,
        "--patience": patience,
        "--check-every": check_every,
        "--batch-size": batch_size,
        "--learning-rate": learning_rate,
        "--seed": seed,
        "--threads": threads,
        "--state": state,
    }
    flags = {
        "--exogenous": exogenous,
        "--instance-norm": instance_norm,
        "--champion": champion,
        "--ray": ray,
    }
    arguments = ["--timeframe", timeframe]
    for option, value in options.items():
        arguments += [] if value is None else [option, str(value)]
    arguments += ["--series", *series] if series else []
    arguments += [flag for flag, on in flags.items() if on]
    if train_forecaster.main(arguments) != 0:
        raise typer.Exit(1)
