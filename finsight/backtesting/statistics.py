"""What an account's returns were worth. Fractions, not percent; a year has 365 days.

Symbols: r, n, A as in `Tallies`; v the account's value at the closes. A statistic that is
not defined (no returns, no losses to divide by) is nan. Importing this module and
`trade_statistics` fills `STATISTICS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from finsight.backtesting import kernel as k
from finsight.backtesting import trade_statistics
from finsight.backtesting.tallies import STATISTICS, Tallies, ratio, statistic

FIRST = ("total_return", "sharpe", "sortino", "max_drawdown", "trades", "win_rate")
WHOLE = (
    "trades", "orders", "stopped", "max_consecutive_wins", "max_consecutive_losses", "drawdowns"
)  # fmt: skip


def statistics(tallies: Tallies) -> dict[str, np.ndarray]:
    """Compute every statistic: a column a name, a row a parameter set."""
    assert trade_statistics.trades.__name__ in STATISTICS
    names = [*FIRST, *(name for name in STATISTICS if name not in FIRST)]
    columns = {}
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for name in names:
            values = STATISTICS[name](tallies)
            columns[name] = values.astype(np.int64) if name in WHOLE else values
    return columns


@statistic
def total_return(t: Tallies) -> Any:
    """v_last / v_start - 1, an open position valued at the last close."""
    return t[k.FINAL_VALUE] / t.cash - 1


@statistic
def annual_return(t: Tallies) -> Any:
    """(v_last / v_start)^(A / n) - 1: the growth a year, compounded. -1 for a ruined account."""
    grown = np.maximum(t[k.FINAL_VALUE] / t.cash, 0.0)
    return np.power(grown, t.market.a_year / t.n) - 1


@statistic
def volatility(t: Tallies) -> Any:
    """std(r) sqrt(A), the sample standard deviation, a year."""
    return t.deviation * np.sqrt(t.market.a_year)


@statistic
def sharpe(t: Tallies) -> Any:
    """mean(r) / std(r) sqrt(A), without a risk-free rate.

    nan where nothing moved (vectorbt says infinity). Source: Sharpe 1994, "The Sharpe
    Ratio", Journal of Portfolio Management 21(1).
    """
    return ratio(t.mean, t.deviation) * np.sqrt(t.market.a_year)


@statistic
def sortino(t: Tallies) -> Any:
    """mean(r) A / (sqrt(mean(min(r, 0)²)) sqrt(A)).

    nan where nothing was lost. Source: Sortino and Price 1994, "Performance Measurement
    in a Downside Risk Framework", Journal of Investing 3(3).
    """
    downside = np.sqrt(t[k.SUM_NEG2] / t.n)
    return ratio(t.mean, downside) * np.sqrt(t.market.a_year)


@statistic
def calmar(t: Tallies) -> Any:
    """annual_return / |max_drawdown|. Source: Young 1991, "Calmar Ratio", Futures 20(1)."""
    return ratio(annual_return(t), np.abs(t[k.MAX_DRAWDOWN]))


@statistic
def omega(t: Tallies) -> Any:
    """sum(max(r, 0)) / sum(max(-r, 0)), the threshold being 0.

    Source: Keating and Shadwick 2002, "A Universal Performance Measure".
    """
    return ratio(t[k.SUM_R] - t[k.SUM_NEG], -t[k.SUM_NEG])


@statistic
def max_drawdown(t: Tallies) -> Any:
    """min(v_i / max(v_0 … v_i) - 1): zero or negative, as in vectorbt."""
    return t[k.MAX_DRAWDOWN]


@statistic
def average_drawdown(t: Tallies) -> Any:
    """Mean over drawdowns of valley / peak - 1; one that has not recovered counts too."""
    return ratio(t[k.SUM_DRAWDOWN], t[k.DRAWDOWNS])


@statistic
def drawdowns(t: Tallies) -> Any:
    """How many times the value fell below its highest and recovered, or has yet to."""
    return t[k.DRAWDOWNS]


@statistic
def max_drawdown_days(t: Tallies) -> Any:
    """The longest time below a peak, in days: candles below it times a candle's length."""
    return t[k.MAX_DRAWDOWN_BARS] * t.market.candle_days


@statistic
def average_drawdown_days(t: Tallies) -> Any:
    """The mean time below a peak, in days."""
    return ratio(t[k.SUM_DRAWDOWN_BARS], t[k.DRAWDOWNS]) * t.market.candle_days


@statistic
def exposure(t: Tallies) -> Any:
    """The share of candles at whose close a position was held."""
    return t[k.BARS_HELD] / t.n


@statistic
def skewness(t: Tallies) -> Any:
    """mean((r - mean)³) / mean((r - mean)²)^1.5, of the population."""
    m, m2 = t.mean, t[k.SUM_R2] / t.n
    third = t[k.SUM_R3] / t.n - 3 * m * m2 + 2 * m**3
    return ratio(third, np.maximum(m2 - m * m, 0.0) ** 1.5)


@statistic
def kurtosis(t: Tallies) -> Any:
    """mean((r - mean)⁴) / mean((r - mean)²)², of the population: 3 for a normal distribution."""
    m, m2, m3 = t.mean, t[k.SUM_R2] / t.n, t[k.SUM_R3] / t.n
    fourth = t[k.SUM_R4] / t.n - 4 * m * m3 + 6 * m * m * m2 - 3 * m**4
    return ratio(fourth, np.maximum(m2 - m * m, 0.0) ** 2)


@statistic
def buy_and_hold_return(t: Tallies) -> Any:
    """close_last / close_first - 1, without costs: what doing nothing would have earned."""
    return np.full(len(t.table), t.market.total_return)


@statistic
def beta(t: Tallies) -> Any:
    """cov(r, b) / var(b), b being the candles' own returns, close to close.

    Source: Jensen 1968, "The Performance of Mutual Funds in the Period 1945-1964".
    """
    market_mean = t.market.sum_returns / t.n
    variance = t.market.sum_squares / t.n - market_mean**2
    return ratio(t[k.SUM_RB] / t.n - market_mean * t.mean, variance)


@statistic
def alpha(t: Tallies) -> Any:
    """(1 + mean(r - beta b))^A - 1: what the market does not explain, a year. Source as `beta`."""
    unexplained = t.mean - beta(t) * t.market.sum_returns / t.n
    return np.power(1 + unexplained, t.market.a_year) - 1


@statistic
def ruined(t: Tallies) -> Any:
    """1 where the account's value reached zero or less (a short that was never covered)."""
    return t[k.RUINED]
