"""What a backtest reads beside the candles: sentiment and forecasts, from files or the stores."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from finsight.commands.backtest_candles import AskedCandles
from finsight.domain.candle import Series
from finsight.domain.errors import InvalidInput
from finsight.domain.known_values import FORECAST, SENTIMENT, KnownValues
from finsight.domain.timeframe import to_ms
from finsight.settings import Settings
from finsight.wiring import open_article_store, open_forecast_store

MOST_FORECASTS = 200_000
SentimentFile = Annotated[
    Path | None,
    typer.Option(
        "--sentiment",
        metavar="FILE.parquet",
        help="Scores beside the candles: known_at, value. Unset: those stored of the series.",
    ),
]
ForecastFile = Annotated[
    Path | None,
    typer.Option(
        "--forecast",
        metavar="FILE.parquet",
        help="Expected log returns: known_at, value. Unset: those stored of the series.",
    ),
]


def with_what_was_known(
    settings: Settings,
    asked: Sequence[AskedCandles],
    strategy: str,
    sentiment: Path | None,
    forecast: Path | None,
) -> list[AskedCandles]:
    """Add what the files hold, else what the stores know of each series that the strategy needs.

    Raises: InvalidInput, StoreUnavailable.
    """
    if len(asked) > 1 and (sentiment or forecast):
        raise InvalidInput(
            f"{'--sentiment' if sentiment else '--forecast'} goes beside one series; of several, "
            "what is stored of each is read"
        )
    return [_beside(settings, one, strategy, sentiment, forecast) for one in asked]


def _beside(
    settings: Settings,
    asked: AskedCandles,
    strategy: str,
    sentiment: Path | None,
    forecast: Path | None,
) -> AskedCandles:
    from finsight.backtesting.built_in import BUILT_IN

    known = {
        kind: _read(kind, file)
        for kind, file in ((SENTIMENT, sentiment), (FORECAST, forecast))
        if file is not None
    }
    built_in = BUILT_IN.get(strategy)
    needs = built_in.reads_beside if built_in else None
    end = asked.candles.last_opened_at
    if needs and needs not in known and asked.series is not None and end is not None:
        until = asked.series.timeframe.next(end)
        reading = _sentiment if needs == SENTIMENT else _forecasts
        known[needs] = asyncio.run(reading(settings, asked.series, until))
    return replace(asked, known=known)


def _read(kind: str, file: Path) -> KnownValues:
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as exc:
        raise InvalidInput(f"can't read the {kind} from {file}: {exc}") from exc
    return KnownValues.from_arrow(table, f"{kind} in {file}")


async def _sentiment(settings: Settings, series: Series, until: datetime) -> KnownValues:
    found = await open_article_store(settings).known_sentiment(series.base, until)
    times = np.array([to_ms(one.known_at) for one in found], dtype=np.int64)
    return KnownValues(times, np.array([one.score for one in found], dtype=np.float64))


async def _forecasts(settings: Settings, series: Series, until: datetime) -> KnownValues:
    """What each stored forecast expected, known once the last candle that it saw had closed.

    A forecast is stored of an origin that its model was not trained on, so whenever it was
    written down, it holds nothing from after its origin.
    """
    stored = await open_forecast_store(settings).recent(series, MOST_FORECASTS)
    known = [
        (
            to_ms(series.timeframe.next(one.forecast.origin)),
            math.log(one.forecast.steps[-1].median / one.forecast.last_close),
        )
        for one in reversed(stored)
    ]
    kept = [(at, move) for at, move in known if at <= to_ms(until)]
    times = np.array([at for at, _ in kept], dtype=np.int64)
    return KnownValues(times, np.array([move for _, move in kept], dtype=np.float64))
