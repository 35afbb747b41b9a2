"""What a strategy is: parameters, the indicators it needs, and how it reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from finsight.backtesting import indicators, known_indicators
from finsight.backtesting.candle_arrays import CandleArrays
from finsight.backtesting.conditions import Condition, codes_of, mark_once, numbers_of
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
INDICATORS: dict[str, tuple[Callable[[np.ndarray, int], np.ndarray], str]] = {
    "simple_average": (indicators.simple_average, "close"),
    "exponential_average": (indicators.exponential_average, "close"),
    "deviation": (indicators.deviation, "close"),
    "relative_strength": (indicators.relative_strength, "close"),
    "earlier_highest": (indicators.earlier_highest, "high"),
    "earlier_lowest": (indicators.earlier_lowest, "low"),
}
BESIDE: dict[str, Callable[[CandleArrays, int], np.ndarray]] = {
    "sentiment_trend": known_indicators.sentiment_trend,
    "forecast_move": known_indicators.forecast_move,
}


def indicator_row(candles: CandleArrays, row: Row) -> np.ndarray:
    """Compute one row of the shared tables."""
    name, window = row
    if name in BESIDE:
        return BESIDE[name](candles, window)
    function, column = INDICATORS[name]
    return function(getattr(candles, column), window)


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


@dataclass(frozen=True)
class BuiltInStrategy:
    """A strategy described by its parameters, its indicators and how it reads them."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    needs: tuple[tuple[str, str], ...]
    """Its indicators: the name of each, and of the parameter that is its window."""
    conditions: tuple[Condition, ...]
    rising: tuple[str, ...] = ()
    """Parameters of which each must be less than the next."""
    reads_beside: str | None = None
    """What it reads beside the candles: "sentiment" or "forecast"."""

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
        return tuple((name, int(values[window])) for name, window in self.needs)

    def rows_of(self, columns: Mapping[str, np.ndarray], sets: int) -> tuple[list[Row], np.ndarray]:
        """The rows that many sets need, each once, and which of them each set reads.

        Shape of the latter: (sets, indicators).
        """
        known: dict[Row, int] = {}
        places = np.empty((sets, len(self.needs)), dtype=np.int64)
        for at, (name, window) in enumerate(self.needs):
            windows, which = np.unique(columns[window].astype(np.int64), return_inverse=True)
            rows = [known.setdefault((name, int(one)), len(known)) for one in windows]
            places[:, at] = np.array(rows)[which]
        return list(known), places

    def mark(
        self,
        candles: CandleArrays,
        rows: Sequence[np.ndarray],
        values: Values,
        direction: Direction,
        shift: int,
        events: np.ndarray,
    ) -> None:
        mark_once(
            np.array([*rows, candles.close]),
            codes_of(self.conditions, SIDES[direction]),
            numbers_of(self.conditions, values, 1)[0],
            shift,
            events,
        )


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
