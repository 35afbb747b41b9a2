"""One account over all candles: orders, stops, valuation, and the sums the statistics need."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from finsight.backtesting import kernel as k
from finsight.backtesting.compiled import inlined, uncounted
from finsight.backtesting.curve import (
    BEFORE,
    DEEPEST,
    FALLING,
    GROWTH,
    PEAK,
    PEAK_BAR,
    end_drawdown,
    hold,
    value_candle,
)
from finsight.backtesting.eights import EIGHT, first_byte
from finsight.backtesting.history import History
from finsight.backtesting.kernel import (
    ENTRY_SIZE,
    FILL_PRICE,
    LONG_ENTRY,
    LONG_EXIT,
    RESOLVED,
    SHORT_ENTRY,
    SHORT_EXIT,
    close_trade,
    trade,
    volume_share,
)
from finsight.backtesting.orders import CASH, FREE_CASH, POSITION, is_close


class Terms(NamedTuple):
    """How signals become trades, as the kernel takes it.

    at_open: orders are executed at the candle's open, else at its close.
    costs: fee, fixed fee, smallest order, slippage, funding per candle for shorts, impact.
    stops: stop-loss, take-profit, trailing stop, as fractions; nan where there is none.
    sizing: kind, amount, cash to begin with.
    fractions: the amount at each candle, where it is not always the same; else empty.
    """

    at_open: bool
    costs: np.ndarray
    stops: np.ndarray
    sizing: np.ndarray
    fractions: np.ndarray


@inlined
def stop_price(
    side: float,
    entry: float,
    extreme: float,
    stops: np.ndarray,
    open_: float,
    high: float,
    low: float,
) -> float:
    """Return the price at which this candle's stops fill, or nan where none is reached.

    stops: stop-loss, take-profit, trailing stop, as fractions; nan where there is none.
    """
    loss: float = stops[0]
    profit: float = stops[1]
    trail: float = stops[2]
    if side > 0:
        level = -np.inf
        if loss == loss:
            level = entry * (1 - loss)
        if trail == trail:
            level = max(level, extreme * (1 - trail))
        if open_ <= level:
            return open_
        if low <= level:
            return level
        if profit == profit:
            level = entry * (1 + profit)
            if open_ >= level:
                return open_
            if high >= level:
                return level
        return np.nan
    level = np.inf
    if loss == loss:
        level = entry * (1 + loss)
    if trail == trail:
        level = min(level, extreme * (1 + trail))
    if open_ >= level:
        return open_
    if high >= level:
        return level
    if profit == profit:
        level = entry * (1 - profit)
        if open_ <= level:
            return open_
        if low <= level:
            return level
    return np.nan


@inlined
def next_event(events: np.ndarray, words: np.ndarray, start: int, wanted: int) -> int:
    """The first candle from `start` on with one of the bits `wanted`, or the candles' number."""
    n = len(events)
    mask = EIGHT * np.uint64(wanted)
    earlier = np.uint64(8 * (start % 8))
    within = mask >> earlier << earlier
    for at in range(start // 8, len(words)):
        word = words[at] & within
        if word != np.uint64(0):
            return 8 * at + first_byte(word)
        within = mask
    for i in range(max(start, 8 * len(words)), n):
        if events[i] & wanted:
            return i
    return n


@inlined
def next_stop(
    open_: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    start: int,
    stop: int,
    position: float,
    entry: float,
    extreme: float,
    stops: np.ndarray,
) -> tuple[int, float, float]:
    """The first candle of `start` up to `stop` that hits a stop, its price, and the extreme.

    Where none does: `stop` and nan.
    """
    for i in range(start, stop):
        at = stop_price(position, entry, extreme, stops, open_[i], high[i], low[i])
        if at == at:
            return i, at, extreme
        extreme = max(extreme, high[i]) if position > 0.0 else min(extreme, low[i])
    return stop, np.nan, extreme


@inlined
def pay_funding(account: np.ndarray, price: float, rate: float, tally: np.ndarray) -> float:
    """Charge a short position for one candle; return the cash left."""
    paid = -account[POSITION] * price * rate
    account[CASH] -= paid
    account[FREE_CASH] -= paid
    tally[k.FUNDING] += paid
    cash: float = account[CASH]
    return cash


@uncounted
def simulate(
    history: History,
    events: np.ndarray,
    words: np.ndarray,
    terms: Terms,
    tally: np.ndarray,
    trades: np.ndarray,
    equity: np.ndarray,
    account: np.ndarray,
    curve: np.ndarray,
) -> None:
    """Run one account and fill `tally` (and, where they have room, `trades` and `equity`).

    events: the signals' bits, at the candle that executes them; words: the same memory,
    eight candles a word, as far as they fill it. account, curve: room to work in,
    ACCOUNT_ROWS and CURVE_ROWS long.
    """
    at_open, costs, stops, sizing, fractions = terms
    open_, high, low, close, volume, market, sums, highest, lowest = history
    n = len(close)
    account[:] = 0.0
    curve[:] = 0.0
    cash, position, entry, extreme = sizing[2], 0.0, np.nan, np.nan
    account[CASH] = account[FREE_CASH] = cash
    curve[BEFORE] = curve[GROWTH] = curve[PEAK] = cash
    tally[:] = 0.0
    tally[k.BEST], tally[k.WORST] = -np.inf, np.inf
    slippage, funding, impact = costs[3], costs[4], costs[5]
    kind, amount = int(sizing[0]), sizing[1]
    has_stops = not (np.isnan(stops[0]) and np.isnan(stops[1]) and np.isnan(stops[2]))
    i = 0
    while i < n:
        at = np.nan
        if position == 0.0:
            # Nothing happens to an account without a position.
            j = next_event(events, words, i, LONG_ENTRY | SHORT_ENTRY)
            if j > i and not curve[FALLING]:
                curve[PEAK_BAR] = j - 1
            stopped = False
        else:
            side = LONG_EXIT | SHORT_ENTRY if position > 0.0 else SHORT_EXIT | LONG_ENTRY
            j = next_event(events, words, i, side)
            stopped = False
            if has_stops:
                until = min(j + 1, n)
                hit, at, extreme = next_stop(
                    open_, high, low, i, until, position, entry, extreme, stops
                )
                stopped = at == at
                j = hit if stopped else j
            if funding != 0.0 and position < 0.0:
                for b in range(i, j):
                    cash = pay_funding(account, close[b], funding, tally)
                    value_candle(b, cash + position * close[b], market[b], curve, tally)
                    if len(equity) > 0:
                        equity[b] = cash + position * close[b]
            elif j > i:
                hold(close, market, sums, highest, lowest, i, j, cash, position, curve, tally)
            tally[k.BARS_HELD] += j - i
        if len(equity) > 0 and not (funding != 0.0 and position < 0.0):
            for b in range(i, j):
                equity[b] = cash + position * close[b]
        i = j
        if i == n:
            break
        if stopped:
            bits = LONG_EXIT if position > 0.0 else SHORT_EXIT
            tally[k.STOPPED] += 1
        else:
            bits = int(RESOLVED[events[i]])
            at = open_[i] if at_open else close[i]
        if len(fractions) > 0:
            amount = fractions[i]
        worse = slippage
        if impact != 0.0:
            worse += impact * volume_share(bits, at, volume[i], kind, amount, account) ** 2
        trade(i, bits, at, worse, costs, kind, amount, account, tally, trades)
        after = account[POSITION]
        if after != 0.0 and (position == 0.0 or (after > 0.0) != (position > 0.0)):
            entry = extreme = account[FILL_PRICE]
        elif stopped and after != 0.0:
            # A stop that couldn't be paid for: the position goes on.
            extreme = max(extreme, high[i]) if after > 0.0 else min(extreme, low[i])
        position, cash = after, account[CASH]
        if position < 0.0 and funding != 0.0:
            cash = pay_funding(account, close[i], funding, tally)
        value = cash + position * close[i] if position != 0.0 else cash
        if len(equity) > 0:
            equity[i] = value
        tally[k.BARS_HELD] += position != 0.0
        value_candle(i, value, market[i], curve, tally)
        i += 1
    if curve[FALLING]:
        end_drawdown(n, curve, tally)
    if account[ENTRY_SIZE] > 0 and not is_close(account[ENTRY_SIZE], 0.0):
        close_trade(n - 1, account, tally, trades, account[ENTRY_SIZE], close[n - 1], 0.0, 1.0)
    tally[k.BARS], tally[k.FINAL_VALUE] = n, curve[BEFORE]
    tally[k.MAX_DRAWDOWN] = curve[DEEPEST]
