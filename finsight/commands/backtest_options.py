"""What a backtest is asked with on a command line: candles, parameters, grids, costs."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from finsight.commands.which_series import named_moment, named_series
from finsight.domain.backtest_record import BacktestRequest, Kind
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.known_values import KnownValues
from finsight.domain.strategy import VENUE_FEES, Costs, Direction, Execution, Stops, one_of
from finsight.domain.timeframe import EPOCH
from finsight.services.candle_reading import read_candles
from finsight.settings import Settings
from finsight.wiring import open_candle_store, open_clock

MOST_VALUES = 1_000_000
"""Of one parameter in a grid."""

SeriesNamed = Annotated[
    list[str] | None,
    typer.Argument(metavar="[EXCHANGE SYMBOL TIMEFRAME]", help="A stored series."),
]
CandleFile = Annotated[
    Path | None,
    typer.Option(
        "--candles",
        metavar="FILE.parquet",
        help="Candles of a file instead: ts, open, high, low, close, volume.",
    ),
]
Since = Annotated[str | None, typer.Option(metavar="DATE", help="From when, in UTC.")]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="Until when, in UTC.")]
StrategyNamed = Annotated[
    str,
    typer.Option(
        "--strategy",
        help="buy_and_hold, ma_cross, rsi, bollinger, macd, donchian, sentiment_momentum, "
        "forecast_threshold, or your own module:function.",
    ),
]
Parameters = Annotated[
    list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="One parameter.")
]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        metavar="NAME=VALUES",
        help="fast=5:55, slow=10:200:5 (the last value included), width=1.5,2,2.5.",
    ),
]
Fee = Annotated[
    float | None, typer.Option(help="Share of an order's value; else those of the venue.")
]
Slippage = Annotated[float, typer.Option(help="How much worse an order fills, as a share.")]
Venue = Annotated[str | None, typer.Option(help="Taker fees of: binance, coinbase, kraken.")]
ExecutedAt = Annotated[
    str, typer.Option("--execution", help="next_open, or close: the price of the signal itself.")
]
Side = Annotated[str, typer.Option("--direction", help="long, short or both.")]
StopLoss = Annotated[float | None, typer.Option(help="Leave at this loss: 0.05 is 5 %.")]
TakeProfit = Annotated[float | None, typer.Option(help="Leave at this profit.")]
TrailingStop = Annotated[float | None, typer.Option(help="Leave this far below the best price.")]
Sample = Annotated[int | None, typer.Option(help="Try only so many sets of the grid.")]
SamplingHow = Annotated[
    str, typer.Option(help="How a sample is picked: random, or sobol, which spreads evenly.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of whatever is random.")]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A sweep's rows, else the trades (.parquet, .csv), or the figures (.json).",
    ),
]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE.html", help="Write a page that stands alone.")
]


@dataclass(frozen=True)
class AskedCandles:
    """Candles, where they came from, what was known beside them, and what has to be said."""

    candles: CandleTable
    source: str
    exchange: str | None = None
    notes: tuple[str, ...] = ()
    series: Series | None = None
    known: Mapping[str, KnownValues] = field(default_factory=dict)


def asked_candles(
    settings: Settings,
    named: list[str] | None,
    file: Path | None,
    since: str | None,
    until: str | None,
) -> AskedCandles:
    """Read the candles from the store or from `file`.

    Raises: InvalidInput, NotFound, StoreUnavailable.
    """
    start, end = named_moment("--since", since), named_moment("--until", until)
    if file is not None and named:
        raise InvalidInput(f"--candles and '{' '.join(named)}' both name candles; leave one out")
    if file is None and not named:
        raise InvalidInput("name a stored series, say binance BTC/USDT 1h, or --candles FILE")
    if file is not None:
        table = _read_file(file)
        low, high = start or table.first_opened_at, end
        if low is not None:
            last = table.last_opened_at or low
            table = table.between(low, high or last + timedelta(milliseconds=1))
        return AskedCandles(table, str(file))
    assert named is not None
    if len(named) != 3:
        raise InvalidInput(
            f"a series has an exchange, a symbol and a timeframe, say binance BTC/USDT 1h; "
            f"not '{' '.join(named)}'"
        )
    return asyncio.run(_read_store(settings, named_series(*named), start, end))


def asked_parameters(given: list[str] | None) -> dict[str, float]:
    """Read `--param fast=10`. Raises: InvalidInput."""
    return {name: _number(name, text) for name, text in _named("--param", given).items()}


def asked_grid(
    given: list[str] | None, fixed: list[str] | None, sample: int | None
) -> dict[str, tuple[float, ...]]:
    """Read `--grid slow=10:200:5`; what `--param` names has that one value.

    Raises: InvalidInput, also for a grid that is too large: how large, before it is made.
    """
    from finsight.backtesting.parameter_sets import LARGEST_GRID

    ranges = {name: _values(name, text) for name, text in _named("--grid", given).items()}
    for name, value in asked_parameters(fixed).items():
        if name in ranges:
            raise InvalidInput(f"{name} is in both --grid and --param")
        ranges[name] = [value]
    if not any(len(values) > 1 for values in ranges.values()):
        raise InvalidInput("there is nothing to choose from; say, for one, --grid fast=5:50")
    size = math.prod(len(values) for values in ranges.values())
    if sample is None and size > LARGEST_GRID:
        raise InvalidInput(
            f"the grid has {size:,} parameter sets, more than the {LARGEST_GRID:,} that one sweep "
            "takes; try --sample 1000000, or larger steps"
        )
    for name, values in ranges.items():
        if len(values) > MOST_VALUES:
            raise InvalidInput(
                f"{name} has {len(values):,} values, more than {MOST_VALUES:,}; take larger steps"
            )
    return {
        name: tuple(values.each() if isinstance(values, _Steps) else values)
        for name, values in ranges.items()
    }


def asked_costs(
    fee: float | None, slippage: float, venue: str | None, exchange: str | None
) -> Costs:
    """The fee that was said, else the venue's taker fee. Raises: InvalidInput."""
    if fee is not None and venue is not None:
        raise InvalidInput("--fee and --venue both say the fee; leave one out")
    if fee is None and (venue or exchange in VENUE_FEES):
        of_venue = Costs.of_venue(str(venue or exchange))
        return Costs.of({"fee": of_venue.fee, "slippage": slippage})
    return Costs.of({"fee": fee or 0.0, "slippage": slippage})


def asked_request(
    kind: Kind,
    candles: AskedCandles,
    strategy: str,
    execution: str,
    direction: str,
    costs: Costs,
    stops: dict[str, float | None],
    **rest: Any,
) -> BacktestRequest:
    """Put the request together. Raises: InvalidInput."""
    let_import_from_here(strategy)
    return BacktestRequest(
        kind=kind,
        source=candles.source,
        strategy=strategy,
        execution=one_of(Execution, execution, "execution"),
        direction=one_of(Direction, direction, "direction"),
        costs=costs,
        stops=Stops.of(stops),
        **rest,
    )


def let_import_from_here(strategy: str) -> None:
    """A user's module lies where they type; an installed command doesn't look there."""
    here = str(Path.cwd())
    if ":" in strategy and here not in sys.path:
        sys.path.insert(0, here)


@dataclass(frozen=True)
class _Steps:
    """`low:high:step` before it is made: it may be larger than the memory."""

    low: float
    step: float
    count: int

    def __len__(self) -> int:
        return self.count

    def each(self) -> list[float]:
        # Multiplied, not added up; rounded, so that 0.1:0.5:0.1 holds 0.3.
        return [round(self.low + place * self.step, 12) for place in range(self.count)]


def _values(name: str, text: str) -> list[float] | _Steps:
    if ":" not in text:
        return [_number(name, part) for part in text.split(",")]
    low, high, *step = (_number(name, part) for part in text.split(":"))
    if len(step) > 1 or (step and step[0] <= 0) or high < low:
        raise InvalidInput(
            f"--grid {name}={text} is no range; write {name}=FROM:TO or FROM:TO:STEP"
        )
    size = step[0] if step else 1.0
    count = math.floor((high - low) / size + 1e-9) + 1
    if count > sys.maxsize:
        raise InvalidInput(f"{name} has {count:.1e} values; take larger steps")
    return _Steps(low, size, count)


def _named(option: str, given: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise InvalidInput(f"{option} '{text}' must be NAME=VALUE, say {option} fast=10")
        if name.strip() in found:
            raise InvalidInput(f"{option} names {name.strip()} twice")
        found[name.strip()] = value.strip()
    return found


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError as exc:
        raise InvalidInput(f"{name} must be a number, not '{text}'") from exc
    if not math.isfinite(number):
        raise InvalidInput(f"{name} must be a finite number, not '{text}'")
    return number


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
