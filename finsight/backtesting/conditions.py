"""What a built-in strategy reads off its indicators: lines that cross, or stay apart.

A strategy is a few conditions, written down as data. One compiled loop so tries thousands of
parameter sets of any of them without going back to Python, and its lock, in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from finsight.backtesting.compiled import uncounted
from finsight.backtesting.indicators import average_into
from finsight.backtesting.kernel import LONG_ENTRY
from finsight.backtesting.marks import AT_ONCE, mark_crossings, mark_levels

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


def candles_at_once(conditions: Sequence[Condition], candles: int) -> int:
    """How many candles of a condition can be looked at by themselves.

    An average of a line needs all that came before: then it is all of them.
    """
    whole = any(condition.b.form == _AVERAGED for condition in conditions)
    return candles if whole else min(2 * AT_ONCE, candles)


def mark_once(
    table: np.ndarray, codes: np.ndarray, numbers: np.ndarray, shift: int, events: np.ndarray
) -> None:
    """Add the signals of a single set to `events`; table: its indicators, and last the closes."""
    candles = len(events)
    before, sides = np.zeros((len(codes), 2), np.uint8), np.empty(AT_ONCE, np.uint8)
    room, places = np.empty((2, candles)), np.arange(len(table))
    mark(0, candles, codes, numbers, places, table, shift, before, room, sides, events)


@uncounted
def mark(
    first: int,
    stop: int,
    codes: np.ndarray,
    numbers: np.ndarray,
    places: np.ndarray,
    table: np.ndarray,
    shift: int,
    before: np.ndarray,
    room: np.ndarray,
    sides: np.ndarray,
    events: np.ndarray,
) -> None:
    """Add one set's signals of candles `first` up to `stop` to `events`, of candle i at i + shift.

    numbers: the set's, one a condition. places: in which row of `table` each of the
    strategy's indicators is, and last the closes. before: two bytes a condition, zeros at
    the first candle. room: two rows of `candles_at_once`, sides: AT_ONCE bytes to work in.
    """
    for at in range(len(codes)):
        code = codes[at]
        above, below = code[_ABOVE], code[_BELOW]
        if above == 0 and below == 0:
            continue
        if code[_KIND] == BEGINS:
            if first == 0 and shift < len(events):
                events[shift] |= np.uint8(above | below)
            continue
        a, b = room[0, : stop - first], room[1, : stop - first]
        if code[_A] == _ROW:
            a = table[places[code[_A + 1]], first:stop]
        else:
            _draw(code[_A : _A + 3], 0.0, places, table, first, a, a)
        if code[_B] == _ROW:
            b = table[places[code[_B + 1]], first:stop]
        else:
            _draw(code[_B : _B + 3], numbers[at], places, table, first, a, b)
        if code[_KIND] == STAYS:
            mark_levels(first, a, b, above, below, shift, events)
            continue
        for start in range(0, len(a), AT_ONCE):
            x, y = a[start : start + AT_ONCE], b[start : start + AT_ONCE]
            mark_crossings(first + start, x, y, above, below, shift, events, before[at], sides)


@uncounted
def _draw(
    line: np.ndarray,
    number: float,
    places: np.ndarray,
    table: np.ndarray,
    first: int,
    a: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write a line's values from candle `first` on into `out`; a: the condition's first line."""
    form = line[0]
    if form == _AVERAGED:
        average_into(a, int(number), out)
    elif form == _LEVEL:
        out[:] = number
    else:
        x, y = table[places[line[1]], first:], table[places[line[2]], first:]
        for i in range(len(out)):
            out[i] = x[i] - y[i] if form == _APART else x[i] + number * y[i]
