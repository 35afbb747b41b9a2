"""A user's strategy that numba has compiled, inside a loop that is compiled around it.

Called from Python, such a function would wait at every parameter set for the interpreter's
lock, as thousands of them would for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numba.extending import is_jitted

from finsight.backtesting.candle_arrays import CandleArrays
from finsight.backtesting.compiled import uncounted
from finsight.backtesting.curve import CURVE_ROWS
from finsight.backtesting.history import History
from finsight.backtesting.kernel import TALLY_COLUMNS, TRADE_FIELDS
from finsight.backtesting.orders import ACCOUNT_ROWS
from finsight.backtesting.parameter_sets import ParameterSets
from finsight.backtesting.simulate import Terms, simulate
from finsight.backtesting.user_strategy import UserStrategy, bits_of, number
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Direction

Loop = Callable[..., bool]

_SOURCE = """
def loop(past, candles, columns, of_two, of_four, shift, terms, tally):
    count = len(candles.close)
    events = np.empty(count, np.uint8)
    words = events[: count // 8 * 8].view(np.uint64)
    no_trades, no_equity = np.empty((0, TRADE_COLUMNS)), np.empty(0)
    account, curve = np.empty(ACCOUNT_ROWS), np.empty(CURVE_ROWS)
    for one in range(len(tally)):
        events[:] = 0
        signals = function(candles, {arguments})
        bits = of_two if len(signals) == 2 else of_four
        for which in range(len(signals)):
            if len(signals[which]) != count:
                return False
            put(signals[which], bits[which], shift, events)
        simulate(past, events, words, terms, tally[one], no_trades, no_equity, account, curve)
    return True
"""


@uncounted
def put(signal: np.ndarray, bit: int, shift: int, events: np.ndarray) -> None:
    """Add `bit` to `events` where a signal is true, that of candle i at i + shift."""
    for i in range(len(signal) - shift):
        events[i + shift] |= np.uint8(np.uint8(signal[i]) * bit)


def loop_around(
    strategy: UserStrategy,
    sets: ParameterSets,
    candles: CandleArrays,
    past: History,
    direction: Direction,
    shift: int,
    terms: Terms,
) -> Loop | None:
    """Return what tries the sets of a slice and fills their sums, a row a set.

    It answers whether it did, and raises InvalidInput where a set raised. It doesn't where a
    set's signals are not as long as the candles, nor where a parameter is a whole number in
    some of the sets alone: set by set each gets its own kind, in whatever block it stands.
    None where there is nothing to gain or numba can't: the function isn't numba's, or returns
    something else than arrays of booleans.
    """
    function, columns = strategy.function, sets.columns
    if not is_jitted(function) or not columns:
        return None
    first = {name: float(column[0]) for name, column in columns.items()}
    try:
        strategy.mark(candles, (), first, direction, shift, np.zeros(len(candles.close), np.uint8))
    except InvalidInput:
        return None  # Called set by set, it is found out for which of them, and said.
    asked = {name: number(value) for name, value in first.items()}
    if not _are_booleans(function(candles, **asked)):
        return None
    loop = _compiled(function, tuple(columns))
    bits = [np.array(bits_of(direction, count), dtype=np.int64) for count in (2, 4)]

    def some(piece: slice, tally: np.ndarray) -> bool:
        own = [_of_one_kind(column[piece]) for column in columns.values()]
        if any(column is None for column in own):
            return False
        try:
            # A stranger's function may raise anything.
            return loop(past, candles, tuple(own), *bits, shift, terms, tally)
        except Exception as exc:
            raise InvalidInput(f"{strategy.name} raised {type(exc).__name__}: {exc}") from exc

    try:
        some(slice(0, 1), np.empty((1, TALLY_COLUMNS)))
    except InvalidInput:
        return None  # Called by itself it compiles, and within a loop it doesn't.
    return some


def _of_one_kind(column: np.ndarray) -> np.ndarray | None:
    """The values as `number` makes them, where all of them are whole or none is."""
    whole = sum(isinstance(number(value), int) for value in column.tolist())
    if 0 < whole < len(column):
        return None
    return column.astype(np.int64) if whole else column


def _are_booleans(signals: Any) -> bool:
    return (
        isinstance(signals, tuple)
        and len(signals) in (2, 4)
        and all(isinstance(s, np.ndarray) and s.dtype == np.bool_ and s.ndim == 1 for s in signals)
    )


@lru_cache(maxsize=16)
def _compiled(function: Any, names: tuple[str, ...]) -> Loop:
    """The loop, with the call written out; numba can't pass a list of arguments by name."""
    arguments = ", ".join(f"{name}=columns[{at}][one]" for at, name in enumerate(names))
    known: dict[str, Any] = {
        "np": np,
        "function": function,
        "put": put,
        "simulate": simulate,
        "TRADE_COLUMNS": len(TRADE_FIELDS),
        "ACCOUNT_ROWS": ACCOUNT_ROWS,
        "CURVE_ROWS": CURVE_ROWS,
    }
    # The function took these very names just now, so that they are nothing but names.
    exec(_SOURCE.format(arguments=arguments), known)
    loop: Loop = njit(nogil=True, error_model="numpy")(known["loop"])
    return loop
