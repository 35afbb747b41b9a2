"""Candles as the engine's loops want them: contiguous float64 arrays, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from finsight.domain.backtest import MissingCandles
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.known_values import FORECAST, SENTIMENT, Beside, KnownValues

FEWEST_CANDLES = 3
_CANDLE_COLUMNS = 6
YEAR_MS = 365 * 86_400_000


class CandleArrays(NamedTuple):
    """One series, oldest first. A user's strategy gets this.

    Units: ts_ms in UTC milliseconds (opening times), prices in quote currency, volume in
    base currency. Beside the candles, and longer or shorter than they: sentiment scores and
    expected log returns, as `KnownValues` has them, empty where nobody gave any.
    """

    ts_ms: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    sentiment_known_ms: np.ndarray
    sentiment: np.ndarray
    forecast_known_ms: np.ndarray
    forecast: np.ndarray


def candle_arrays(candles: CandleTable | pa.Table | Beside) -> CandleArrays:
    """Check and unpack candles, and what was known beside them.

    Raises:
        InvalidInput: a column is missing, a value is impossible, times do not rise, or
            there are fewer than three candles.
    """
    known: Mapping[str, KnownValues] = {}
    if isinstance(candles, Beside):
        candles, known = candles.candles, candles.known
    if isinstance(candles, pa.Table):
        candles = CandleTable.from_arrow(candles)
    if not isinstance(candles, CandleTable):
        raise InvalidInput(
            "candles must be a CandleTable or an Arrow table with the columns "
            f"ts, open, high, low, close, volume; not {type(candles).__name__}"
        )
    if len(candles) < FEWEST_CANDLES:
        raise InvalidInput(
            f"there are {len(candles)} candles; a backtest needs at least {FEWEST_CANDLES}"
        )
    names = ("open", "high", "low", "close", "volume")
    # Copied: numba compiles read-only arrays (which Arrow's are) a second time.
    columns = [np.array(candles.column(name), dtype=np.float64) for name in names]
    sentiment = known.get(SENTIMENT, KnownValues.none())
    forecast = known.get(FORECAST, KnownValues.none())
    times = np.array(candles.ts_ms, dtype=np.int64)
    return CandleArrays._make([times, *columns, *sentiment, *forecast])


def head(candles: CandleArrays, rows: int) -> CandleArrays:
    """The oldest `rows` candles, and what was known when the last of them closed."""
    return part(candles, 0, rows)


def part(candles: CandleArrays, start: int, stop: int) -> CandleArrays:
    """The candles of rows `start` up to `stop`, and what was known when the last closed."""
    rows = [column[start:stop].copy() for column in candles[:_CANDLE_COLUMNS]]
    until = closed_ms(candles)[stop - 1]
    sentiment = KnownValues(candles.sentiment_known_ms, candles.sentiment).until(until)
    forecast = KnownValues(candles.forecast_known_ms, candles.forecast).until(until)
    return CandleArrays._make([*rows, *sentiment, *forecast])


def closed_ms(candles: CandleArrays) -> np.ndarray:
    """When each candle had closed: from then on its signal may use what is known."""
    closed: np.ndarray = candles.ts_ms + candle_ms(candles)
    return closed


def candle_ms(candles: CandleArrays) -> int:
    """How long one candle lasts, in milliseconds: the commonest distance between two."""
    steps, counts = np.unique(np.diff(candles.ts_ms), return_counts=True)
    return int(steps[np.argmax(counts)])


def candles_a_year(candles: CandleArrays) -> float:
    """How many candles a year of 365 days has: the factor that annualises."""
    return YEAR_MS / candle_ms(candles)


def missing_candles(candles: CandleArrays) -> MissingCandles:
    """Count the candles that a history lacks between its first and its last.

    A distance that is no whole multiple of the commonest one (months) is rounded down.
    """
    absent = np.diff(candles.ts_ms) // candle_ms(candles) - 1
    holes = absent[absent > 0]
    longest = int(holes.max()) if len(holes) else 0
    return MissingCandles(candles=int(holes.sum()), holes=len(holes), longest=longest)


def fingerprint(candles: CandleArrays) -> str:
    """A digest of every value of every candle: results with the same one saw the same data."""
    digest = hashlib.sha256()
    for column in candles:
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:32]


def market_returns(close: np.ndarray) -> np.ndarray:
    """close_i / close_{i-1} - 1; 0 for the first candle."""
    returns = np.zeros(len(close))
    returns[1:] = close[1:] / close[:-1] - 1
    return returns
