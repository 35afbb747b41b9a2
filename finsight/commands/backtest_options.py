"""What a backtest is asked with on a command line: parameters, grids, costs, weights."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from finsight.commands.backtest_candles import AskedCandles
from finsight.domain.backtest_record import BacktestRequest, Kind, weights_of
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Direction, Execution, Stops, one_of, taker_fee

MOST_VALUES = 1_000_000
"""Of one parameter in a grid."""

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
Fees = Annotated[
    list[float] | None,
    typer.Option(
        "--fee", help="Share of an order's value; else those of the venue. Several: each tried."
    ),
]
Slippage = Annotated[float, typer.Option(help="How much worse an order fills, as a share.")]
Slippages = Annotated[
    list[float] | None,
    typer.Option("--slippage", help="How much worse an order fills. Several: each tried."),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weight", metavar="SERIES=SHARE", help="Of several: BTC/USDT=0.6. Unset: equal shares."
    ),
]
Rebalance = Annotated[
    int | None,
    typer.Option(metavar="CANDLES", help="Of several: bring them back to their weights so often."),
]
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
RayAddress = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Spread over a Ray cluster: auto, or its address."),
]
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
    fee: float | None, slippage: float, venue: str | None, exchanges: Collection[str | None]
) -> Costs:
    """The fee that was said, else the venue's taker fee. Raises: InvalidInput."""
    return costs_to_try(None if fee is None else [fee], [slippage], venue, exchanges)[0]


def costs_to_try(
    fees: Sequence[float] | None,
    slippages: Sequence[float] | None,
    venue: str | None,
    exchanges: Collection[str | None],
) -> tuple[Costs, ...]:
    """Every fee with every slippage; without a fee, the taker fee of the venue.

    Raises: InvalidInput, also where the series' venues take different fees and none is said.
    """
    if fees and venue is not None:
        raise InvalidInput("--fee and --venue both say the fee; leave one out")
    if not fees:
        fees = [Costs.of_venue(venue).fee if venue else taker_fee(exchanges)]
    return tuple(
        Costs.of({"fee": fee, "slippage": slippage})
        for fee, slippage in product(fees, slippages or [0.0])
    )


def asked_weights(given: list[str] | None, sources: Sequence[str]) -> dict[str, float]:
    """Read `--weight BTC/USDT=0.6`. Raises: InvalidInput, as `weights_of`."""
    shares = {name: _number(name, text) for name, text in _named("--weight", given).items()}
    return weights_of(shares, sources)


def asked_request(
    kind: Kind,
    asked: Sequence[AskedCandles],
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
        source=", ".join(one.source for one in asked),
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
