"""How far a read of candles can be trusted: what is missing, quiet or odd, and a grade."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.candle_table import CandleTable
from finsight.domain.gaps import GapReport

NEIGHBOURS = 5
"""Candles looked at on either side of one."""

OUTLIER_RANGES = 10.0
"""How many of its neighbours' median ranges a price must lie beyond them all."""

OUTLIER_LEAST = 0.01
"""And at least how far, as a share of the price: in a flat market every tick is many ranges."""

GRADES: tuple[tuple[str, float, float, float], ...] = (
    ("A", 0.001, 0.01, 0.0001),
    ("B", 0.01, 0.10, 0.001),
    ("C", 0.05, 0.30, 0.005),
    ("D", 0.20, 0.60, 0.02),
    ("E", 0.50, 0.90, 0.10),
)
"""Each grade's highest shares of missing, quiet and outlying candles; beyond E it is F."""


class Quality(BaseModel):
    """What a read of candles is worth.

    Units (shares are in [0, 1]):
        missing_share: opening times of the range that nobody fetched.
        quiet_share: opening times fetched with nothing traded: a candle of zero
            volume, or, where the venue sends none, no candle.
        outlier_share: candles whose high or low stands alone, see `outliers`.
        grade: A to F; the worst of the three decides, by `GRADES`.
    """

    model_config = ConfigDict(frozen=True)

    expected: int = Field(ge=0, description="opening times in the range")
    candles: int = Field(ge=0)
    missing_share: float = Field(ge=0, le=1)
    quiet_share: float = Field(ge=0, le=1)
    outlier_share: float = Field(ge=0, le=1)
    grade: str = Field(pattern="^[A-F]$")


def grade_quality(table: CandleTable, gaps: GapReport) -> Quality:
    """Grade candles, given the gap report of the same series and range."""
    zero_volume = int(np.count_nonzero(table.column("volume") == 0))
    missing = gaps.not_fetched / max(1, gaps.expected)
    quiet = min(1.0, (zero_volume + gaps.no_trades) / max(1, gaps.expected))
    outlying = len(outliers(table)) / max(1, len(table))
    grade = next(
        (
            letter
            for letter, most_missing, most_quiet, most_outlying in GRADES
            if missing <= most_missing and quiet <= most_quiet and outlying <= most_outlying
        ),
        "F",
    )
    return Quality(
        expected=gaps.expected,
        candles=len(table),
        missing_share=missing,
        quiet_share=quiet,
        outlier_share=outlying,
        grade=grade if gaps.expected else "F",
    )


def outliers(table: CandleTable) -> np.ndarray:
    """Return the rows whose high or low stands alone among their neighbours.

    With N(i) the `NEIGHBOURS` candles on either side of i, and r = ln(high/low),
    candle i stands out when

        ln(high_i / max high of N(i))  or  ln(min low of N(i) / low_i)
            exceeds  max(OUTLIER_RANGES * median r of N(i), OUTLIER_LEAST).

    A bad print is one candle's; a real crash stays, so the neighbours after it
    are as low. The first and last `NEIGHBOURS` candles have not enough
    neighbours and are never judged.
    """
    if len(table) < 2 * NEIGHBOURS + 1:
        return np.zeros(0, dtype=np.int64)
    high, low = np.log(table.column("high")), np.log(table.column("low"))
    inner = slice(NEIGHBOURS, len(high) - NEIGHBOURS)
    above = high[inner] - _over_neighbours(high, np.maximum)
    below = _over_neighbours(low, np.minimum) - low[inner]
    beyond = np.maximum(above, below)
    # Medians are dear: take them only where the candle could stand out at all.
    suspects = np.flatnonzero(beyond > OUTLIER_LEAST)
    rows = suspects + NEIGHBOURS
    offsets = np.array([o for o in range(-NEIGHBOURS, NEIGHBOURS + 1) if o])
    around = rows[:, None] + offsets
    usual = np.median(high[around] - low[around], axis=1) if len(rows) else np.zeros(0)
    found: np.ndarray = rows[beyond[suspects] > OUTLIER_RANGES * usual]
    return found


def _over_neighbours(values: np.ndarray, of_two: np.ufunc) -> np.ndarray:
    """Highest (or lowest) value of each inner row's neighbours, without the row itself."""
    count = len(values) - 2 * NEIGHBOURS
    offsets = [o for o in range(2 * NEIGHBOURS + 1) if o != NEIGHBOURS]
    result: np.ndarray = values[:count].copy()
    for offset in offsets:
        result = of_two(result, values[offset : offset + count])
    return result
