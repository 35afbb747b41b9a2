"""What a built-in strategy reads off its indicators: lines that cross, or stay apart.

A strategy is a few conditions, written down as data. One compiled loop so tries thousands of
parameter sets of any of them without going back to Python, and its lock, in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from finsight.backtesting.compiled import compiled
from finsight.backtesting.indicators import exponential_average, mark_crossings, mark_levels
from finsight.backtesting.kernel import LONG_ENTRY

BEGINS, CROSSES, STAYS = 0, 1, 2
_ROW, _APART, _LEVEL, _BAND, _AVERAGED = 0, 1, 2, 3, 4
# Columns of a condition's code.
_KIND, _A, _B, _ABOVE, _BELOW = 0, 1, 4, 7, 8
_CODE_COLUMNS = 9


class Line(NamedTuple):
    """A value a candle. row, other: which of the strategy's indicators it is made of.

    Where it depends on a parameter: `times` that parameter's value.
    """

    form: int
    row: int = 0
    other: int = 0
    parameter: str = ""
    times: float = 1.0


class Condition(NamedTuple):
    """The bits that a signal sets where line `a` is above line `b`, and where it is below.

    kind: CROSSES, on the candles on which it gets there; STAYS, on all on which it is;
    BEGINS, once, at the very first candle, whatever the lines.
    """

    kind: int
    a: Line
    b: Line
    above: int = 0
    below: int = 0


CLOSE = Line(_ROW, -1)


def indicator(row: int) -> Line:
    """One of the strategy's indicators."""
    return Line(_ROW, row)


def apart(row: int, other: int) -> Line:
    """How far one indicator is above another."""
    return Line(_APART, row, other)


def level(parameter: str, times: float = 1.0) -> Line:
    """The same on every candle."""
    return Line(_LEVEL, parameter=parameter, times=times)


def band(middle: int, width: int, parameter: str, times: float) -> Line:
    """So many times one indicator away from another."""
    return Line(_BAND, middle, width, parameter, times)


def averaged(parameter: str) -> Line:
    """The exponential average of the condition's own line `a`."""
    return Line(_AVERAGED, parameter=parameter)


def crosses(a: Line, b: Line, above: int = 0, below: int = 0) -> Condition:
    return Condition(CROSSES, a, b, above, below)


def stays(a: Line, b: Line, above: int = 0, below: int = 0) -> Condition:
    return Condition(STAYS, a, b, above, below)


def begins(above: int, below: int) -> Condition:
    """`above` where the direction allows it, else `below`."""
    return Condition(BEGINS, CLOSE, CLOSE, above, below)


def codes_of(conditions: Sequence[Condition], sides: int) -> np.ndarray:
    """The conditions as numbers, with the bits alone that `sides` allow."""
    codes = np.zeros((len(conditions), _CODE_COLUMNS), dtype=np.int64)
    for at, (kind, a, b, above, below) in enumerate(conditions):
        above, below = above & sides, below & sides
        if kind == BEGINS and above & LONG_ENTRY:
            below = 0
        codes[at] = (kind, *a[:3], *b[:3], above, below)
    return codes


def numbers_of(
    conditions: Sequence[Condition], columns: Mapping[str, Any], sets: int
) -> np.ndarray:
    """What each set's second lines depend on: a row a set, a column a condition."""
    numbers = np.zeros((sets, len(conditions)))
    for at, condition in enumerate(conditions):
        if condition.b.parameter:
            numbers[:, at] = np.multiply(columns[condition.b.parameter], condition.b.times)
    return numbers


@compiled
def mark_set(
    codes: np.ndarray,
    numbers: np.ndarray,
    places: np.ndarray,
    table: np.ndarray,
    shift: int,
    room: np.ndarray,
    events: np.ndarray,
) -> None:
    """Add one set's signals to `events`, those of candle i at i + shift.

    numbers: the set's, one a condition. places: in which row of `table` each of the
    strategy's indicators is, and last the closes. room: two rows to work in.
    """
    for at in range(len(codes)):
        code = codes[at]
        above, below = code[_ABOVE], code[_BELOW]
        if above == 0 and below == 0:
            continue
        if code[_KIND] == BEGINS:
            if shift < len(events):
                events[shift] |= np.uint8(above | below)
            continue
        a = _drawn(code[_A : _A + 3], 0.0, places, table, table[0], room[0])
        b = _drawn(code[_B : _B + 3], numbers[at], places, table, a, room[1])
        if code[_KIND] == CROSSES:
            mark_crossings(a, b, above, below, shift, events)
        else:
            mark_levels(a, b, above, below, shift, events)


@compiled
def _drawn(
    line: np.ndarray,
    number: float,
    places: np.ndarray,
    table: np.ndarray,
    first: np.ndarray,
    room: np.ndarray,
) -> np.ndarray:
    """A line's values, in a row of `table` or in `room`."""
    form = line[0]
    if form == _AVERAGED:
        average: np.ndarray = exponential_average(first, int(number))
        return average
    if form == _LEVEL:
        room[:] = number
        return room
    x, y = table[places[line[1]]], table[places[line[2]]]
    if form == _ROW:
        row: np.ndarray = x
        return row
    if form == _APART:
        for i in range(len(room)):
            room[i] = x[i] - y[i]
    else:
        for i in range(len(room)):
            room[i] = x[i] + number * y[i]
    return room
