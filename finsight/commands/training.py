"""Commands that train models."""

from __future__ import annotations

from typing import Annotated

import typer

from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe

train = typer.Typer(help="Train models on what is stored.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this group's commands to `app`."""
    app.add_typer(train, name="train")


@train.callback()
def _group() -> None:
    """Train models on what is stored."""


@train.command("forecaster")
def forecaster(
    timeframe: Annotated[str, typer.Argument(help="Of which candles, such as 1h.")] = "1h",
) -> None:
    """Train one PatchTST over every stored series of a timeframe, and register it.

    Example: finsight train forecaster 1h
    """
    if timeframe not in list(Timeframe):
        raise InvalidInput(f"'{timeframe}' is not a timeframe; known are {', '.join(Timeframe)}")
    from finsight.training import train_forecaster

    train_forecaster.main(["--timeframe", timeframe])
