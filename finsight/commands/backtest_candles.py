"""The candles that a backtest is asked for: stored series, or files."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from finsight.commands.which_series import named_moment, named_series
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.known_values import KnownValues
from finsight.domain.timeframe import EPOCH
from finsight.services.candle_reading import read_candles
from finsight.settings import Settings
from finsight.wiring import open_candle_store, open_clock

SeriesNamed = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[EXCHANGE SYMBOL TIMEFRAME]...",
        help="A stored series; where a command takes several, one after another.",
    ),
]
CandleFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--candles",
        metavar="FILE.parquet",
        help="Candles of a file instead: ts, open, high, low, close, volume.",
    ),
]
Since = Annotated[str | None, typer.Option(metavar="DATE", help="From when, in UTC.")]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="Until when, in UTC.")]


@dataclass(frozen=True)
class AskedCandles:
    """Candles of one series, where they came from, what was known beside them, what to say."""

    candles: CandleTable
    source: str
    exchange: str | None = None
    notes: tuple[str, ...] = ()
    series: Series | None = None
    known: Mapping[str, KnownValues] = field(default_factory=dict)


def asked_series(
    settings: Settings,
    named: Sequence[str] | None,
    files: Sequence[Path] | None,
    since: str | None,
    until: str | None,
) -> list[AskedCandles]:
    """Read the candles of each series from the store, or of each file.

    Raises: InvalidInput, NotFound, StoreUnavailable.
    """
    start, end = named_moment("--since", since), named_moment("--until", until)
    if files and named:
        raise InvalidInput(f"--candles and '{' '.join(named)}' both name candles; leave one out")
    if files:
        found = [_of_file(file, start, end) for file in files]
    elif named:
        if len(named) % 3:
            raise InvalidInput(
                f"a series has an exchange, a symbol and a timeframe, say binance BTC/USDT 1h; "
                f"not '{' '.join(named)}'"
            )
        found = [
            asyncio.run(_read_store(settings, named_series(*named[at : at + 3]), start, end))
            for at in range(0, len(named), 3)
        ]
    else:
        raise InvalidInput("name a stored series, say binance BTC/USDT 1h, or --candles FILE")
    sources = [one.source for one in found]
    twice = next((source for source in sources if sources.count(source) > 1), None)
    if twice is not None:
        raise InvalidInput(f"{twice} is named twice")
    return found


def only_one(asked: Sequence[AskedCandles], command: str) -> AskedCandles:
    """The only series there is. Raises: InvalidInput (there are several)."""
    if len(asked) > 1:
        raise InvalidInput(
            f"{command} takes one series, and {len(asked)} are named: "
            f"{', '.join(one.source for one in asked)}"
        )
    return asked[0]


def _of_file(file: Path, start: datetime | None, end: datetime | None) -> AskedCandles:
    table = _read_file(file)
    low = start or table.first_opened_at
    if low is not None:
        last = table.last_opened_at or low
        table = table.between(low, end or last + timedelta(milliseconds=1))
    return AskedCandles(table, str(file))


def _read_file(file: Path) -> CandleTable:
    try:
        table = pq.read_table(file)
    except FileNotFoundError as exc:
        raise InvalidInput(f"can't read candles from {file}: there is no such file") from exc
    except (OSError, pa.ArrowException) as exc:
        raise InvalidInput(f"can't read candles from {file}: {exc}") from exc
    return CandleTable.from_arrow(table)


async def _read_store(
    settings: Settings, series: Series, start: datetime | None, end: datetime | None
) -> AskedCandles:
    reading = await read_candles(
        open_candle_store(settings), series, start or EPOCH, end or open_clock(settings).now()
    )
    candles, complete = reading.candles, reading.complete
    # Those at the end are still being formed, or not all fetched.
    rows = int(np.max(np.flatnonzero(complete), initial=-1)) + 1
    candles, complete = CandleTable(candles.arrow.slice(0, rows)), complete[:rows]
    notes = []
    if reading.source != series.timeframe:
        notes.append(f"put together from {reading.source} candles")
    partial = int((~complete).sum())
    if partial:
        notes.append(f"{partial:,} of them from too few of those: not all were fetched")
    return AskedCandles(candles, str(series), series.exchange, tuple(notes), series)
