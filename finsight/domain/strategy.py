"""A strategy's name and parameters, and how its orders are executed and paid for."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from finsight.domain.errors import InvalidInput


class Parameter(BaseModel):
    """One parameter of a strategy: what it may be, and what it is when nobody says."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Literal["integer", "number"]
    low: float = Field(description="the smallest value allowed")
    high: float = Field(description="the largest value allowed")
    default: float
    description: str

    def check(self, value: object) -> float:
        """Return `value` as a number within the range.

        Raises:
            InvalidInput: it is no number, not whole where it must be, or out of range.
        """
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise InvalidInput(f"{self.name} must be a number, not {value!r}")
        number = float(value)
        if self.kind == "integer" and number != round(number):
            raise InvalidInput(f"{self.name} must be a whole number, not {number:g}")
        if not self.low <= number <= self.high:
            raise InvalidInput(
                f"{self.name} must be between {self.low:g} and {self.high:g}, not {number:g}"
            )
        return number


class Direction(StrEnum):
    """Which side a strategy may take; `both` turns a long position into a short one at once."""

    LONG = "long"
    SHORT = "short"
    BOTH = "both"


class Execution(StrEnum):
    """When a signal's order is executed.

    `close` trades at the very price the signal was computed from. It is there for
    comparison, and every result that used it says so.
    """

    NEXT_OPEN = "next_open"
    CLOSE = "close"


class Sampling(StrEnum):
    """How a sample of a grid is picked."""

    RANDOM = "random"
    SOBOL = "sobol"


class Costs(BaseModel):
    """What trading costs. Fractions, not percent: 0.001 is a tenth of a percent.

    Units:
        fee: share of an order's value, each way.
        fixed_fee: quote currency an order.
        slippage: how much worse than the price an order fills, as a share of the price.
        impact: how much worse still where the order is as large as all that was traded in
            the candle; it grows with the square of the order's share of the candle's volume
            (zipline's `VolumeShareSlippage`). A candle without volume counts as share 1.
        funding: what a short position pays a year, as a share of its value.
        smallest_order: base currency; smaller orders are not made. Binance books BTC to
            1e-8, and vectorbt has the same default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fee: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    fixed_fee: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    slippage: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    impact: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    funding: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    smallest_order: float = Field(default=1e-8, ge=0, allow_inf_nan=False)

    @classmethod
    def of(cls, given: Costs | Mapping[str, Any] | None) -> Costs:
        """Take a model or a plain mapping. Raises: InvalidInput."""
        return _model(cls, given, "costs")

    @classmethod
    def of_venue(cls, exchange: str, maker: bool = False, slippage: float = 0.0) -> Costs:
        """The fees of an exchange's lowest tier for spot trading.

        Raises:
            InvalidInput: there is no table for that exchange.
        """
        fees = VENUE_FEES.get(exchange)
        if fees is None:
            raise InvalidInput(unknown("exchange with a fee table", exchange, VENUE_FEES))
        return cls(fee=fees[0] if maker else fees[1], slippage=slippage)


# Maker and taker fees of the lowest spot tier, from the exchanges' public fee pages. They
# change: whoever needs today's passes them.
VENUE_FEES: dict[str, tuple[float, float]] = {
    "binance": (0.0010, 0.0010),
    "coinbase": (0.0040, 0.0060),
    "kraken": (0.0025, 0.0040),
}


def taker_fee(exchanges: Collection[str | None]) -> float:
    """The taker fee that all of these take; 0 where there is no table for any.

    Raises:
        InvalidInput: they take different fees.
    """
    taken = {str(one): VENUE_FEES[one][1] if one in VENUE_FEES else 0.0 for one in exchanges}
    if len(set(taken.values())) > 1:
        told = ", ".join(f"{one} {fee:g}" for one, fee in sorted(taken.items()))
        raise InvalidInput(f"the series' venues take different fees ({told}): say the fee")
    return next(iter(taken.values()), 0.0)


class Stops(BaseModel):
    """Exits inside the candle, as fractions of the price that the position was entered at.

    `trailing_stop` follows the best price since the entry. A stop fills as a market order:
    it pays the fee and the slippage. The order of events is written in `backtesting.kernel`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stop_loss: float | None = Field(default=None, gt=0, lt=1)
    take_profit: float | None = Field(default=None, gt=0)
    trailing_stop: float | None = Field(default=None, gt=0, lt=1)

    @classmethod
    def of(cls, given: Stops | Mapping[str, Any] | None) -> Stops:
        """Take a model or a plain mapping. Raises: InvalidInput."""
        return _model(cls, given, "stops")


class Sizing(BaseModel):
    """How much is bought or sold short at each entry.

    `all_in`: all the cash. `fraction`: that share of it. `value`: a fixed amount of quote
    currency. `units`: a fixed amount of base currency. Without enough cash, what there is.
    `volatility`: the share of the cash at which the position's volatility is `amount` a year,
    going by the last `window` log returns before the signal's close, and never more than all
    of it; no entry until there are so many.
    `cash` is what the account begins with; only `value`, `units`, fixed fees and the
    smallest order can see how large it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["all_in", "fraction", "value", "units", "volatility"] = "all_in"
    amount: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    window: int = Field(default=168, ge=2, description="log returns that volatility looks at")
    cash: float = Field(default=100.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _a_fraction_is_at_most_one(self) -> Self:
        if self.kind == "fraction" and self.amount > 1:
            raise ValueError("a fraction of the cash can't be more than 1")
        return self

    @classmethod
    def of(cls, given: Sizing | Mapping[str, Any] | None) -> Sizing:
        """Take a model or a plain mapping. Raises: InvalidInput."""
        return _model(cls, given, "sizing")


M = TypeVar("M", bound=BaseModel)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that nobody knows, with the nearest one that somebody does."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    meant = f"; did you mean '{near[0]}'?" if near else "."
    return f"there is no {what} '{name}'{meant} Known: {', '.join(names)}"


def one_of(kind: type[Any], given: object, what: str) -> Any:
    """Return the member of the enumeration `kind` named `given`. Raises: InvalidInput."""
    try:
        return kind(given)
    except ValueError as exc:
        raise InvalidInput(unknown(what, str(given), [str(member) for member in kind])) from exc


def _model(kind: type[M], given: M | Mapping[str, Any] | None, what: str) -> M:
    if given is None:
        return kind()
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{what} must be a mapping such as {_example(kind)}, not {given!r}")
    for name in given:
        if name not in kind.model_fields:
            raise InvalidInput(unknown(f"setting of {what}", str(name), kind.model_fields))
    try:
        return kind(**given)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or what
        raise InvalidInput(f"{what}: {where}: {first['msg']} (given {first['input']!r})") from exc


def _example(kind: type[BaseModel]) -> str:
    examples = {"Costs": '{"fee": 0.001, "slippage": 0.0005}', "Stops": '{"stop_loss": 0.05}'}
    return examples.get(kind.__name__, '{"kind": "fraction", "amount": 0.5}')
