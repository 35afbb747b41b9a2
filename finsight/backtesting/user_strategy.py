"""A user's own strategy: a Python function from candles and parameters to signals."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from finsight.backtesting.built_in import BUILT_IN
from finsight.backtesting.candle_arrays import CandleArrays, candle_arrays
from finsight.backtesting.kernel import LONG_ENTRY, LONG_EXIT, SHORT_ENTRY, SHORT_EXIT
from finsight.backtesting.strategies import BuiltInStrategy, Row, Strategy, Values
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Direction, Parameter, unknown


class UserStrategy:
    """Calls `function(candles, **parameters)` for the signals.

    The function gets `CandleArrays` and numbers, and returns booleans, one a candle:
    either `(entries, exits)`, which open and close a position of the direction asked for
    (with `both`, an exit opens a short one), or `(long_entries, long_exits,
    short_entries, short_exits)`. A function compiled by numba is called the same way.
    """

    parameters: tuple[Parameter, ...] | None = None

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function = function
        self.name = name

    def check(self, given: Mapping[str, Any]) -> dict[str, float]:
        for name, value in given.items():
            if isinstance(value, bool) or not hasattr(value, "__float__"):
                raise InvalidInput(f"{name} must be a number, not {value!r}")
        return {name: number(value) for name, value in given.items()}

    def ruled_out(self, sets: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.zeros(len(next(iter(sets.values()))) if sets else 1, dtype=bool)

    def rows(self, values: Values) -> Sequence[Row]:
        return ()

    def mark(
        self,
        candles: CandleArrays,
        rows: Sequence[np.ndarray],
        values: Values,
        direction: Direction,
        shift: int,
        events: np.ndarray,
    ) -> None:
        """As `Strategy.mark`.

        Raises:
            InvalidInput: the function raised, or returned something else than signals;
                the message names the parameters.
        """
        numbers = {name: number(value) for name, value in values.items()}
        asked = ", ".join(f"{name}={value:g}" for name, value in numbers.items())
        where = f"the strategy {self.name}({asked})"
        try:
            # A stranger's function may raise anything; it is named and the sweep goes on.
            answer = self.function(candles, **numbers)
        except Exception as exc:
            raise InvalidInput(f"{where} raised {type(exc).__name__}: {exc}") from exc
        signals = _signals(answer, len(candles.close), where)
        bits = bits_of(direction, len(signals))
        for bit, signal in zip(bits, signals, strict=True):
            events[shift:] |= np.uint8(bit) * signal[: len(events) - shift].astype(np.uint8)


def bits_of(direction: Direction, signals: int) -> tuple[int, ...]:
    """What each of a function's two or four signals means in a direction."""
    if signals == 2:
        return {
            Direction.LONG: (LONG_ENTRY, LONG_EXIT),
            Direction.SHORT: (SHORT_ENTRY, SHORT_EXIT),
            Direction.BOTH: (LONG_ENTRY, SHORT_ENTRY),
        }[direction]
    keeps_long, keeps_short = direction != Direction.SHORT, direction != Direction.LONG
    return (
        LONG_ENTRY * keeps_long,
        LONG_EXIT * keeps_long,
        SHORT_ENTRY * keeps_short,
        SHORT_EXIT * keeps_short,
    )


def resolve(strategy: str | Callable[..., Any] | Strategy) -> Strategy:
    """Find a strategy: by its name, by `module:function`, or a function itself.

    Raises:
        InvalidInput: nothing of that name; the message suggests the nearest.
    """
    if not isinstance(strategy, str):
        if isinstance(strategy, BuiltInStrategy | UserStrategy):
            return strategy
        if callable(strategy):
            name = getattr(strategy, "__qualname__", type(strategy).__name__)
            return UserStrategy(strategy, f"{getattr(strategy, '__module__', '')}:{name}")
        raise InvalidInput(f"a strategy is a name or a function, not {strategy!r}")
    if strategy in BUILT_IN:
        return BUILT_IN[strategy]
    if ":" not in strategy:
        raise InvalidInput(
            unknown("strategy", strategy, BUILT_IN) + "; your own is given as module:function"
        )
    module_name, _, function_name = strategy.partition(":")
    try:
        # A stranger's module may raise anything while it is read.
        module = importlib.import_module(module_name)
    except Exception as exc:
        raise InvalidInput(
            f"the module of '{strategy}' can't be imported: {type(exc).__name__}: {exc}"
        ) from exc
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InvalidInput(f"the module {module_name} has no function '{function_name}'")
    return UserStrategy(function, strategy)


def opened(
    candles: Any, strategy: str | Callable[..., Any] | Strategy
) -> tuple[CandleArrays, Strategy]:
    """Check the candles and find the strategy.

    Raises: InvalidInput (either is wrong, or the strategy reads what nobody gave).
    """
    arrays = candles if isinstance(candles, CandleArrays) else candle_arrays(candles)
    chosen = resolve(strategy)
    reads = chosen.reads_beside if isinstance(chosen, BuiltInStrategy) else None
    if reads is not None and not len(getattr(arrays, reads)):
        raise InvalidInput(
            f"{chosen.name} reads the {reads} beside the candles, and none was given: "
            f"with_known(candles, {reads}=…) in Python, --{reads} FILE or a stored series "
            "on the command line"
        )
    return arrays, chosen


def _signals(answer: Any, candles: int, where: str) -> list[np.ndarray]:
    if not isinstance(answer, tuple | list) or len(answer) not in (2, 4):
        raise InvalidInput(
            f"{where} must return (entries, exits) or (long_entries, long_exits, "
            f"short_entries, short_exits), not {type(answer).__name__}"
        )
    signals = [np.asarray(signal) for signal in answer]
    for signal in signals:
        if signal.shape != (candles,):
            missing = min(len(signal), candles) if signal.ndim == 1 else 0
            raise InvalidInput(
                f"{where} returned signals of shape {signal.shape} for {candles} candles: "
                f"the first candle without its own is {missing}"
            )
        if signal.dtype != np.bool_:
            odd = np.flatnonzero(~np.isin(signal, (0, 1)))
            if len(odd):
                raise InvalidInput(
                    f"{where} returned {signal[odd[0]]!r} at candle {odd[0]}; "
                    "a signal is true or false"
                )
    return [signal.astype(np.bool_) for signal in signals]


def number(value: Any) -> float | int:
    """What a user's function gets for a parameter: an integer where it is whole."""
    given = float(value)
    return int(given) if given == round(given) and abs(given) < 2**53 else given
