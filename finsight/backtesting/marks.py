"""Where two lines cross, or one stays above the other: signals, a stretch of candles at a time."""

from __future__ import annotations

import numpy as np

from finsight.backtesting.compiled import uncounted
from finsight.backtesting.eights import first_byte

AT_ONCE = 2_048
"""Candles of a stretch at most: few enough that what is made of them stays in the nearest cache."""

ABOVE, BELOW = np.uint8(1), np.uint8(2)


@uncounted
def mark_crossings(
    first: int,
    a: np.ndarray,
    b: np.ndarray,
    above: int,
    below: int,
    shift: int,
    events: np.ndarray,
    before: np.ndarray,
    room: np.ndarray,
) -> None:
    """Add the bits `above` to `events` where `a` goes above `b`, `below` where it goes below.

    a, b: the lines from candle `first` on, at most AT_ONCE candles; events: of all candles.
    To go above is: a > b now, not so on the candle before, and a < b at some time since
    both began. (So an average that starts above has not crossed.) This is vectorbt's
    `crossed_above`. The event of candle i is put at i + shift: when it is executed.

    before: which side `a` was on before this stretch, and all that it ever was on; two zeros
    at the first candle. room: AT_ONCE bytes to work in.
    """
    count, last = len(a), len(events) - shift
    words = room.view(np.uint64)
    was, seen = before[0], before[1]
    for j in range(count):  # many candles at a time, in vector registers
        room[j] = np.uint8(a[j] > b[j]) | np.uint8(np.uint8(a[j] < b[j]) << np.uint8(1))
    room[count : (count + 7) // 8 * 8] = 0
    for word in range((count + 7) // 8):
        eight = words[word]
        changed = eight ^ (eight << np.uint64(8) | np.uint64(was))
        while changed != np.uint64(0):
            at = first_byte(changed)
            now, i = room[8 * word + at], first + 8 * word + at
            if i < last and now != 0 and seen & np.uint8(3 - now) != 0:
                events[i + shift] |= np.uint8(above if now == ABOVE else below)
            seen |= now
            changed &= ~(np.uint64(0xFF) << np.uint64(8 * at))
        was = np.uint8(eight >> np.uint64(56))
    before[0], before[1] = was, seen


@uncounted
def mark_levels(
    first: int,
    a: np.ndarray,
    b: np.ndarray,
    above: int,
    below: int,
    shift: int,
    events: np.ndarray,
) -> None:
    """Add the bits `above` to `events` on every candle with a > b, `below` on a < b."""
    here = events[first + shift : first + shift + len(a)]
    for i in range(len(here)):
        here[i] |= np.uint8(np.uint8(a[i] > b[i]) * above)
        here[i] |= np.uint8(np.uint8(a[i] < b[i]) * below)
