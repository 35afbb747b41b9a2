"""How large a position is where that changes with the market."""

from __future__ import annotations

import numpy as np

from finsight.backtesting.candle_arrays import CandleArrays, candles_a_year
from finsight.backtesting.indicators import deviation
from finsight.domain.strategy import Sizing


def volatility_fractions(candles: CandleArrays, sizing: Sizing, shift: int) -> np.ndarray:
    """The share of the cash to put in at each candle, so that volatility is `sizing.amount` a year.

    f_i = min(1, target / (s * sqrt(candles a year))), where s is the deviation of the last
    `window` log returns up to the signal's close, `shift` candles before; 0 until there are
    so many. Source: Moreira and Muir 2017, "Volatility-Managed Portfolios", capped at all of
    the cash, since nothing is borrowed.
    """
    returns = np.diff(np.log(candles.close))
    spread = np.full(len(candles.close), np.nan)
    if len(returns) >= sizing.window:
        spread[1:] = deviation(returns, sizing.window) * np.sqrt(candles_a_year(candles))
    known = np.full(len(spread), np.nan)
    known[shift:] = spread[: len(spread) - shift]
    with np.errstate(divide="ignore"):
        fractions = np.minimum(1.0, sizing.amount / known)
    fractions[np.isnan(known)] = 0.0
    return fractions
