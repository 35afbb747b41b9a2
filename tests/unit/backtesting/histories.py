"""Small histories for the engine's tests."""

import numpy as np

from finsight.domain.candle_table import CandleTable
from finsight.domain.timeframe import to_ms
from tests.builders import NOON

HOUR_MS = 3_600_000


def candles_of(
    opens: list[float],
    closes: list[float],
    highs: list[float] | None = None,
    lows: list[float] | None = None,
) -> CandleTable:
    """Hourly candles with these prices; highs and lows no further than they must be."""
    open_, close = np.array(opens, dtype=float), np.array(closes, dtype=float)
    high = np.maximum(open_, close) if highs is None else np.array(highs, dtype=float)
    low = np.minimum(open_, close) if lows is None else np.array(lows, dtype=float)
    ts = to_ms(NOON) + np.arange(len(open_), dtype=np.int64) * HOUR_MS
    return CandleTable.from_columns(ts, open_, high, low, close, np.ones(len(open_)))


def signals(entries: dict[int, str], candles: int):
    """A strategy that says what it is told: {2: "entry", 5: "exit"}."""

    def strategy(table, **parameters):
        enters, leaves = np.zeros(candles, dtype=bool), np.zeros(candles, dtype=bool)
        for candle, what in entries.items():
            (enters if what == "entry" else leaves)[candle] = True
        n = len(table.close)
        return enters[:n], leaves[:n]

    return strategy
