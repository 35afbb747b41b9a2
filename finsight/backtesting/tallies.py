"""The sums that the kernel leaves behind, many parameter sets at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from finsight.backtesting import kernel
from finsight.backtesting.candle_arrays import (
    CandleArrays,
    candle_ms,
    candles_a_year,
    market_returns,
)

Statistic = Callable[["Tallies"], Any]
STATISTICS: dict[str, Statistic] = {}
"""Every statistic by its column's name, in the order that results show them."""


@dataclass(frozen=True)
class Market:
    """The candles themselves, as the thing to compare with."""

    a_year: float
    candle_days: float
    total_return: float
    sum_returns: float
    sum_squares: float

    @classmethod
    def of(cls, candles: CandleArrays) -> Market:
        """Hold from the first close to the last, without costs."""
        returns = market_returns(candles.close)
        return cls(
            a_year=candles_a_year(candles),
            candle_days=candle_ms(candles) / 86_400_000,
            total_return=float(candles.close[-1] / candles.close[0] - 1),
            sum_returns=float(returns.sum()),
            sum_squares=float(np.square(returns).sum()),
        )


@dataclass(frozen=True)
class Tallies:
    """One row a parameter set; see the column numbers in kernel.py.

    r is an account's return from one close to the next, (v_i - v_{i-1}) / v_{i-1}, with
    v_{-1} the cash that it began with; n is the number of candles, A that of a year.
    """

    table: np.ndarray
    market: Market
    cash: float

    def __getitem__(self, column: int) -> np.ndarray:
        values: np.ndarray = self.table[:, column]
        return values

    @property
    def n(self) -> Any:
        return self[kernel.BARS]

    @property
    def mean(self) -> Any:
        """The mean of r."""
        return self[kernel.SUM_R] / self.n

    @property
    def deviation(self) -> Any:
        """The sample standard deviation of r (n - 1 below); 0 where rounding says less."""
        squares = self[kernel.SUM_R2] - np.square(self[kernel.SUM_R]) / self.n
        return np.sqrt(np.maximum(squares, 0.0) / (self.n - 1))


def statistic(function: Statistic) -> Statistic:
    """Add a statistic to every result, under its function's name."""
    STATISTICS[function.__name__] = function
    return function


def ratio(above: Any, below: Any) -> Any:
    """above / below, and nan where there is nothing to divide by (never infinity)."""
    out = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=out, where=np.asarray(below) != 0)
    return out
