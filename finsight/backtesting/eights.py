"""Eight candles at a time: a byte each, the first candle's lowest in the word."""

from __future__ import annotations

import numpy as np

from finsight.backtesting.compiled import inlined

EIGHT = np.uint64(0x0101010101010101)
"""Times a byte: that byte eight times."""


@inlined
def first_byte(word: np.uint64) -> int:
    """Which of the eight is the first that isn't zero; `word` itself is not.

    By halves, without a branch: a loop would be mispredicted at every signal.
    """
    half = 4 if word & np.uint64(0xFFFFFFFF) == np.uint64(0) else 0
    word >>= np.uint64(8 * half)
    quarter = 2 if word & np.uint64(0xFFFF) == np.uint64(0) else 0
    word >>= np.uint64(8 * quarter)
    return half + quarter + (1 if word & np.uint64(0xFF) == np.uint64(0) else 0)
