"""What an account's trades were worth.

A trade is one position from flat to flat, or from one side to the other; one still open at
the end counts, valued at the last close, as in vectorbt. pnl is what it earned after fees,
in quote currency; its return is pnl over the value it was entered at. N is their number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from finsight.backtesting import kernel as k
from finsight.backtesting.tallies import Tallies, ratio, statistic


@statistic
def trades(t: Tallies) -> Any:
    """N: how many trades there were."""
    return t[k.TRADES]


@statistic
def win_rate(t: Tallies) -> Any:
    """The share of trades with pnl > 0."""
    return ratio(t[k.WINS], t[k.TRADES])


@statistic
def profit_factor(t: Tallies) -> Any:
    """Sum of the winners' pnl / |sum of the losers'|; nan without losers."""
    return ratio(t[k.PROFIT], t[k.LOSS])


@statistic
def expectancy(t: Tallies) -> Any:
    """mean(pnl): what a trade earns on average, in quote currency.

    Source: Tharp 1998, "Trade Your Way to Financial Freedom".
    """
    return ratio(t[k.SUM_PNL], t[k.TRADES])


@statistic
def sqn(t: Tallies) -> Any:
    """sqrt(N) mean(pnl) / std(pnl), the sample deviation: the system quality number.

    Source: Tharp 2008, "Definitive Guide to Position Sizing".
    """
    count = t[k.TRADES]
    mean = ratio(t[k.SUM_PNL], count)
    squares = np.maximum(t[k.SUM_PNL2] - count * mean * mean, 0.0)
    return np.sqrt(count) * ratio(mean, np.sqrt(ratio(squares, count - 1)))


@statistic
def kelly(t: Tallies) -> Any:
    """p - (1 - p) / (w / l): p the win rate, w and l the mean return won and lost.

    The share of the cash that would have grown fastest. Source: Kelly 1956, "A New
    Interpretation of Information Rate"; in this form, backtesting.py.
    """
    won = win_rate(t)
    gain, loss = ratio(t[k.SUM_WIN_RETURN], t[k.WINS]), ratio(t[k.SUM_LOSS_RETURN], t[k.LOSSES])
    return won - (1 - won) * ratio(loss, gain)


@statistic
def best_trade(t: Tallies) -> Any:
    """The highest return of a trade."""
    return np.where(t[k.TRADES] > 0, t[k.BEST], np.nan)


@statistic
def worst_trade(t: Tallies) -> Any:
    """The lowest return of a trade."""
    return np.where(t[k.TRADES] > 0, t[k.WORST], np.nan)


@statistic
def average_trade(t: Tallies) -> Any:
    """The mean return of a trade."""
    return ratio(t[k.SUM_RETURN], t[k.TRADES])


@statistic
def max_consecutive_wins(t: Tallies) -> Any:
    """The longest run of trades with pnl > 0."""
    return t[k.MAX_WINS]


@statistic
def max_consecutive_losses(t: Tallies) -> Any:
    """The longest run of trades with pnl < 0 (a trade that broke even ends it)."""
    return t[k.MAX_LOSSES]


@statistic
def average_trade_days(t: Tallies) -> Any:
    """The mean time from a trade's entry to its exit, in days."""
    return ratio(t[k.SUM_TRADE_BARS], t[k.TRADES]) * t.market.candle_days


@statistic
def max_trade_days(t: Tallies) -> Any:
    """The longest time from a trade's entry to its exit, in days."""
    return t[k.MAX_TRADE_BARS] * t.market.candle_days


@statistic
def orders(t: Tallies) -> Any:
    """How many orders were filled."""
    return t[k.ORDERS]


@statistic
def stopped(t: Tallies) -> Any:
    """How many times a stop was hit."""
    return t[k.STOPPED]


@statistic
def fees_paid(t: Tallies) -> Any:
    """Sum of the orders' fees, in quote currency."""
    return t[k.FEES]


@statistic
def funding_paid(t: Tallies) -> Any:
    """Sum of what short positions paid, in quote currency."""
    return t[k.FUNDING]


@statistic
def turnover(t: Tallies) -> Any:
    """Sum of the orders' values over the cash at the beginning."""
    return t[k.TURNOVER] / t.cash
