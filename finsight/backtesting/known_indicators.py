"""Indicators over what was known beside the candles: sentiment and forecasts.

Row i, as everywhere, uses what was known when candle i closed, and nothing later.
"""

from __future__ import annotations

import numpy as np

from finsight.backtesting.candle_arrays import CandleArrays, candle_ms, closed_ms
from finsight.domain.asof import as_of, mean_known


def sentiment_trend(candles: CandleArrays, window: int) -> np.ndarray:
    """Mean score of the articles that became known in the last n candles, each counted once.

    nan where there was none: no news is no opinion.
    """
    means, _ = mean_known(
        closed_ms(candles),
        candles.sentiment_known_ms,
        candles.sentiment,
        window * candle_ms(candles),
    )
    return means


def forecast_move(candles: CandleArrays, stale: int) -> np.ndarray:
    """The log return that the newest forecast expects; nan where it is older than n candles."""
    closed, made = closed_ms(candles), candles.forecast_known_ms
    moves = as_of(closed, made, candles.forecast)
    made_at = as_of(closed, made, made.astype(np.float64))
    moves[~(closed - made_at < stale * candle_ms(candles))] = np.nan
    return moves
