"""Commands that train, search and judge forecasters."""

from __future__ import annotations

from typing import Annotated

import typer

from finsight.commands.training import train
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe


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
