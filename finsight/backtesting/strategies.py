"""The strategies that come with FinSight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from finsight.backtesting import indicators
from finsight.backtesting.candle_arrays import CandleArrays
from finsight.backtesting.indicators import exponential_average, mark_crossings, mark_levels
from finsight.backtesting.kernel import LONG_ENTRY, LONG_EXIT, SHORT_ENTRY, SHORT_EXIT
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Direction, Parameter, unknown

Values = Mapping[str, float]
Row = tuple[str, int]
"""An indicator and its window: one row of the tables that parameter sets share."""

SIDES = {
    Direction.LONG: LONG_ENTRY | LONG_EXIT,
    Direction.SHORT: SHORT_ENTRY | SHORT_EXIT,
    Direction.BOTH: LONG_ENTRY | LONG_EXIT | SHORT_ENTRY | SHORT_EXIT,
}
BULLISH, BEARISH = LONG_ENTRY | SHORT_EXIT, SHORT_ENTRY | LONG_EXIT

INDICATORS: dict[str, tuple[Callable[[np.ndarray, int], np.ndarray], str]] = {
    "simple_average": (indicators.simple_average, "close"),
    "exponential_average": (indicators.exponential_average, "close"),
    "deviation": (indicators.deviation, "close"),
    "relative_strength": (indicators.relative_strength, "close"),
    "earlier_highest": (indicators.earlier_highest, "high"),
    "earlier_lowest": (indicators.earlier_lowest, "low"),
}


def indicator_row(candles: CandleArrays, row: Row) -> np.ndarray:
    """Compute one row of the shared tables."""
    function, column = INDICATORS[row[0]]
    return function(getattr(candles, column), row[1])


class Strategy(Protocol):
    """What turns candles and parameters into signals."""

    @property
    def name(self) -> str:
        """Its name, or the import path of a user's function."""

    @property
    def parameters(self) -> tuple[Parameter, ...] | None:
        """What it takes; None where it is the user's own and takes what it likes."""

    def check(self, given: Mapping[str, Any]) -> dict[str, float]:
        """Return every parameter's value, defaults filled in. Raises: InvalidInput."""

    def ruled_out(self, sets: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which of many sets (a column a parameter) are inconsistent, as booleans."""

    def rows(self, values: Values) -> Sequence[Row]:
        """The indicators that these values need, in the order that `mark` takes them."""

    def mark(
        self,
        candles: CandleArrays,
        rows: Sequence[np.ndarray],
        values: Values,
        direction: Direction,
        shift: int,
        events: np.ndarray,
    ) -> None:
        """Write the signals' bits into zeroed `events`, that of candle i at i + shift."""


class Marking(NamedTuple):
    """What a built-in strategy reads, the bits that its direction may set, and where."""

    candles: CandleArrays
    rows: Sequence[np.ndarray]
    values: Values
    sides: int
    shift: int
    events: np.ndarray


@dataclass(frozen=True)
class BuiltInStrategy:
    """A strategy described by its parameters, its indicators and how it reads them."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    needs: Callable[[Values], Sequence[Row]]
    reads: Callable[[Marking], None]
    rising: tuple[str, ...] = ()
    """Parameters of which each must be less than the next."""

    def check(self, given: Mapping[str, Any]) -> dict[str, float]:
        values = checked(self.name, self.parameters, given)
        for smaller, larger in zip(self.rising, self.rising[1:], strict=False):
            if values[smaller] >= values[larger]:
                raise InvalidInput(
                    f"{self.name}: {smaller} must be less than {larger}, "
                    f"not {values[smaller]:g} and {values[larger]:g}"
                )
        return values

    def ruled_out(self, sets: Mapping[str, np.ndarray]) -> np.ndarray:
        out = np.zeros(len(next(iter(sets.values()))) if sets else 1, dtype=bool)
        for smaller, larger in zip(self.rising, self.rising[1:], strict=False):
            out |= sets[smaller] >= sets[larger]
        return out

    def rows(self, values: Values) -> Sequence[Row]:
        return self.needs(values)

    def mark(
        self,
        candles: CandleArrays,
        rows: Sequence[np.ndarray],
        values: Values,
        direction: Direction,
        shift: int,
        events: np.ndarray,
    ) -> None:
        self.reads(Marking(candles, rows, values, SIDES[direction], shift, events))


def checked(
    strategy: str, parameters: Sequence[Parameter], given: Mapping[str, Any]
) -> dict[str, float]:
    """Check each value given and fill in the defaults. Raises: InvalidInput."""
    by_name = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in by_name:
            raise InvalidInput(unknown(f"parameter of {strategy}", str(name), by_name))
    return {
        name: parameter.check(given.get(name, parameter.default))
        for name, parameter in by_name.items()
    }


def _buy_and_hold(to: Marking) -> None:
    if to.shift < len(to.events):
        to.events[to.shift] = LONG_ENTRY if to.sides & LONG_ENTRY else SHORT_ENTRY


def _ma_cross(to: Marking) -> None:
    fast, slow = to.rows
    _crossings(to, fast, slow, BULLISH, BEARISH)


def _rsi(to: Marking) -> None:
    strength = to.rows[0]
    _crossings(to, strength, np.full(len(strength), to.values["lower"]), 0, BULLISH)
    _crossings(to, strength, np.full(len(strength), to.values["upper"]), BEARISH, 0)


def _bollinger(to: Marking) -> None:
    close, middle = to.candles.close, to.rows[0]
    width = to.values["width"] * to.rows[1]
    _crossings(to, close, middle - width, 0, LONG_ENTRY)
    _crossings(to, close, middle + width, SHORT_ENTRY, 0)
    _crossings(to, close, middle, LONG_EXIT, SHORT_EXIT)


def _macd(to: Marking) -> None:
    line = to.rows[0] - to.rows[1]
    signal = exponential_average(line, int(to.values["signal"]))
    _crossings(to, line, signal, BULLISH, BEARISH)


def _donchian(to: Marking) -> None:
    close = to.candles.close
    high, low, exit_high, exit_low = to.rows
    for level, above, below in (
        (high, LONG_ENTRY, 0),
        (low, 0, SHORT_ENTRY),
        (exit_high, SHORT_EXIT, 0),
        (exit_low, 0, LONG_EXIT),
    ):
        mark_levels(close, level, above & to.sides, below & to.sides, to.shift, to.events)


def _crossings(to: Marking, a: np.ndarray, b: np.ndarray, above: int, below: int) -> None:
    mark_crossings(a, b, above & to.sides, below & to.sides, to.shift, to.events)


def _whole(name: str, low: int, default: int, description: str) -> Parameter:
    return Parameter(
        name=name, kind="integer", low=low, high=100_000, default=default, description=description
    )


def _number(name: str, low: float, high: float, default: float, text: str) -> Parameter:
    return Parameter(
        name=name, kind="number", low=low, high=high, default=default, description=text
    )


_BUILT_IN = (
    BuiltInStrategy(
        "buy_and_hold",
        "Enter once, at the start, and stay.",
        (),
        lambda v: (),
        _buy_and_hold,
    ),
    BuiltInStrategy(
        "ma_cross",
        "Long when the fast average of the closes crosses above the slow, out (or short) below.",
        (
            _whole("fast", 1, 20, "candles in the fast average"),
            _whole("slow", 2, 50, "candles in the slow average"),
        ),
        lambda v: (("simple_average", int(v["fast"])), ("simple_average", int(v["slow"]))),
        _ma_cross,
        ("fast", "slow"),
    ),
    BuiltInStrategy(
        "rsi",
        "Long when the RSI falls below `lower`, out (or short) when it rises above `upper`.",
        (
            _whole("window", 1, 14, "candles of Wilder's smoothing"),
            _number("lower", 0, 100, 30, "oversold below this"),
            _number("upper", 0, 100, 70, "overbought above this"),
        ),
        lambda v: (("relative_strength", int(v["window"])),),
        _rsi,
        ("lower", "upper"),
    ),
    BuiltInStrategy(
        "bollinger",
        "Long when the close falls below the lower band, out when it is back above the average; "
        "short when it rises above the upper band, out when it is back below the average.",
        (
            _whole("window", 2, 20, "candles in the average and the deviation"),
            _number("width", 0.01, 100, 2, "how many deviations away the bands are"),
        ),
        lambda v: (("simple_average", int(v["window"])), ("deviation", int(v["window"]))),
        _bollinger,
    ),
    BuiltInStrategy(
        "macd",
        "Long when the MACD line crosses above its signal line, out (or short) below.",
        (
            _whole("fast", 1, 12, "span of the fast average"),
            _whole("slow", 2, 26, "span of the slow average"),
            _whole("signal", 1, 9, "span of the signal line"),
        ),
        lambda v: (
            ("exponential_average", int(v["fast"])),
            ("exponential_average", int(v["slow"])),
        ),
        _macd,
        ("fast", "slow"),
    ),
    BuiltInStrategy(
        "donchian",
        "Long on a close above the highest high of the `entry` candles before, out on one below "
        "the lowest low of the `exit` candles before; short the other way round.",
        (
            _whole("entry", 1, 20, "candles whose extreme must be broken to enter"),
            _whole("exit", 1, 10, "candles whose extreme must be broken to leave"),
        ),
        lambda v: (
            ("earlier_highest", int(v["entry"])),
            ("earlier_lowest", int(v["entry"])),
            ("earlier_highest", int(v["exit"])),
            ("earlier_lowest", int(v["exit"])),
        ),
        _donchian,
    ),
)

BUILT_IN: dict[str, BuiltInStrategy] = {strategy.name: strategy for strategy in _BUILT_IN}
