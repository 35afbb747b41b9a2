"""What can be computed once about a series, so that no parameter set pays for it again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from finsight.backtesting.candle_arrays import CandleArrays, market_returns
from finsight.backtesting.compiled import inlined

BLOCK = 8


class History(NamedTuple):
    """The candles, and sums over them that make a stretch of holding cheap to account for.

    market: the candles' own returns, close to close; the first is 0.
    sums: row i holds the sums over candles before i of the market's returns r, r², r³, r⁴,
        min(r, 0), min(r, 0)²; an account that is all in, long, has these very returns.
    highest, lowest: of each whole block of eight closes.
    """

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    market: np.ndarray
    sums: np.ndarray
    highest: np.ndarray
    lowest: np.ndarray


def history(candles: CandleArrays) -> History:
    """Prepare a series for the kernel."""
    market = market_returns(candles.close)
    falls = np.minimum(market, 0.0)
    parts = [market, market**2, market**3, market**4, falls, falls**2]
    sums = np.zeros((len(market) + 1, len(parts)))
    sums[1:] = np.cumsum(np.column_stack(parts), axis=0)
    blocks = candles.close[: len(market) // BLOCK * BLOCK].reshape(-1, BLOCK)
    return History(
        candles.open,
        candles.high,
        candles.low,
        candles.close,
        candles.volume,
        market,
        sums,
        blocks.max(axis=1) if len(blocks) else np.empty(0),
        blocks.min(axis=1) if len(blocks) else np.empty(0),
    )


@inlined
def extremes(
    close: np.ndarray, highest: np.ndarray, lowest: np.ndarray, start: int, stop: int
) -> tuple[float, float]:
    """The highest and the lowest close of candles `start` up to `stop`."""
    top, bottom = close[start], close[start]
    i = start
    while i < stop:
        if i % BLOCK == 0 and i + BLOCK <= stop:
            top = max(top, highest[i // BLOCK])
            bottom = min(bottom, lowest[i // BLOCK])
            i += BLOCK
        else:
            top = max(top, close[i])
            bottom = min(bottom, close[i])
            i += 1
    return top, bottom
