"""Candles cut where one is missing."""

from __future__ import annotations

import itertools

import numpy as np

from finsight.domain.candle_table import CandleTable
from finsight.domain.timeframe import Timeframe


def cut_at_gaps(candles: CandleTable, timeframe: Timeframe) -> list[CandleTable]:
    """Return the unbroken stretches of `candles`, oldest first, without copying.

    Within a stretch each candle opens exactly when the one before it closes.
    """
    if not len(candles):
        return []
    ts = candles.ts_ms
    starts = np.flatnonzero(ts[1:] != timeframe.next_ms(ts[:-1])) + 1
    edges = [0, *starts.tolist(), len(ts)]
    return [
        CandleTable(candles.arrow.slice(start, end - start))
        for start, end in itertools.pairwise(edges)
    ]


def count_missing(candles: CandleTable, timeframe: Timeframe) -> int:
    """Return how many candles are missing between the first and the last."""
    first, last = candles.first_opened_at, candles.last_opened_at
    if first is None or last is None:
        return 0
    return len(timeframe.opens_between(first, timeframe.next(last))) - len(candles)
