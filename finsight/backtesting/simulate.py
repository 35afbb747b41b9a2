"""One account over all candles: orders, stops, valuation, and the sums the statistics need."""

from __future__ import annotations

import numpy as np

from finsight.backtesting import kernel as k
from finsight.backtesting.compiled import compiled
from finsight.backtesting.history import extremes
from finsight.backtesting.kernel import (
    ACCOUNT_ROWS,
    CASH,
    ENTRY_SIZE,
    FILL_PRICE,
    FREE_CASH,
    LONG_ENTRY,
    LONG_EXIT,
    POSITION,
    RESOLVED,
    SHORT_ENTRY,
    SHORT_EXIT,
    close_trade,
    is_close,
    trade,
)

# Rows of `curve`: the value so far and its drawdowns. GROWTH is the product of 1 + r times
# the first cash, which is the value until that reaches zero.
BEFORE, GROWTH, PEAK, PEAK_BAR, VALLEY, FALLING, DEEPEST = 0, 1, 2, 3, 4, 5, 6
CURVE_ROWS = 7


@compiled
def stop_price(side, entry, extreme, stops, open_, high, low):  # type: ignore[no-untyped-def]
    """Return the price at which this candle's stops fill, or nan where none is reached.

    stops: stop-loss, take-profit, trailing stop, as fractions; nan where there is none.
    """
    loss, profit, trail = stops[0], stops[1], stops[2]
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


@compiled
def draw(i, growth, curve, tally):  # type: ignore[no-untyped-def]
    """Follow the drawdowns one candle on. Reaching the old peak again ends one."""
    if growth >= curve[PEAK] or i == 0:
        if curve[FALLING]:
            end_drawdown(i, curve, tally)
        curve[PEAK], curve[PEAK_BAR] = growth, i
    else:
        curve[VALLEY] = min(curve[VALLEY], growth) if curve[FALLING] else growth
        curve[FALLING] = 1.0


@compiled
def end_drawdown(i, curve, tally):  # type: ignore[no-untyped-def]
    """Count a drawdown that is over, or still goes on when the candles end at i - 1."""
    depth = curve[VALLEY] / curve[PEAK] - 1.0
    bars = i - curve[PEAK_BAR] - 1
    tally[k.DRAWDOWNS] += 1
    tally[k.SUM_DRAWDOWN] += depth
    tally[k.SUM_DRAWDOWN_BARS] += bars
    tally[k.MAX_DRAWDOWN_BARS] = max(tally[k.MAX_DRAWDOWN_BARS], bars)
    curve[DEEPEST] = min(curve[DEEPEST], depth)
    curve[FALLING] = 0.0


@compiled
def value_candle(i, value, market, curve, tally):  # type: ignore[no-untyped-def]
    """Take in the account's value at the close of candle i."""
    before = curve[BEFORE]
    if before > 0.0:
        r = value / before - 1.0
    elif before < 0.0:
        r = (value - before) / -before
    else:
        r = 0.0 if value == 0.0 else np.inf * np.sign(value)
    growth = curve[GROWTH] * (1.0 + r) if tally[k.RUINED] else value
    if value <= 0.0:
        tally[k.RUINED] = 1.0
    curve[BEFORE], curve[GROWTH] = value, growth
    r2 = r * r
    tally[k.SUM_R] += r
    tally[k.SUM_R2] += r2
    tally[k.SUM_R3] += r2 * r
    tally[k.SUM_R4] += r2 * r2
    tally[k.SUM_RB] += r * market
    if r < 0.0:
        tally[k.SUM_NEG] += r
        tally[k.SUM_NEG2] += r2
    draw(i, growth, curve, tally)


@compiled
def hold(close, market, sums, highest, lowest, start, stop, cash, position, curve, tally):  # type: ignore[no-untyped-def]
    """Take in candles `start` up to `stop`, in which a position is held and nothing happens."""
    top, bottom = extremes(close, highest, lowest, start, stop)
    best, worst = cash + position * top, cash + position * bottom
    if position < 0.0:
        best, worst = worst, best
    if worst <= 0.0 or tally[k.RUINED] or curve[BEFORE] <= 0.0:
        for i in range(start, stop):
            value_candle(i, cash + position * close[i], market[i], curve, tally)
        return
    if cash == 0.0:
        s1, s2 = sums[stop, 0] - sums[start, 0], sums[stop, 1] - sums[start, 1]
        s3, s4 = sums[stop, 2] - sums[start, 2], sums[stop, 3] - sums[start, 3]
        neg, neg2 = sums[stop, 4] - sums[start, 4], sums[stop, 5] - sums[start, 5]
        with_market = s2
    else:
        s1 = s2 = s3 = s4 = neg = neg2 = with_market = 0.0
        before = curve[BEFORE]
        for i in range(start, stop):
            value = cash + position * close[i]
            r = value / before - 1.0
            before = value
            r2 = r * r
            fall = min(r, 0.0)
            s1 += r
            s2 += r2
            s3 += r2 * r
            s4 += r2 * r2
            with_market += r * market[i]
            neg += fall
            neg2 += fall * fall
    tally[k.SUM_R] += s1
    tally[k.SUM_R2] += s2
    tally[k.SUM_R3] += s3
    tally[k.SUM_R4] += s4
    tally[k.SUM_RB] += with_market
    tally[k.SUM_NEG] += neg
    tally[k.SUM_NEG2] += neg2
    if best < curve[PEAK]:
        curve[VALLEY] = min(curve[VALLEY], worst) if curve[FALLING] else worst
        curve[FALLING] = 1.0
    else:
        draw_stretch(close, start, stop, cash, position, curve, tally)
    curve[BEFORE] = cash + position * close[stop - 1]
    curve[GROWTH] = curve[BEFORE]


@compiled
def draw_stretch(close, start, stop, cash, position, curve, tally):  # type: ignore[no-untyped-def]
    """`draw` over a stretch of holding, with what it follows kept in registers."""
    peak, peak_bar, valley = curve[PEAK], curve[PEAK_BAR], curve[VALLEY]
    falling = curve[FALLING] != 0.0
    for i in range(start, stop):
        value = cash + position * close[i]
        if value >= peak:
            if falling:
                curve[PEAK], curve[PEAK_BAR], curve[VALLEY] = peak, peak_bar, valley
                end_drawdown(i, curve, tally)
                falling = False
            peak, peak_bar = value, i
        else:
            valley = min(valley, value) if falling else value
            falling = True
    curve[PEAK], curve[PEAK_BAR], curve[VALLEY] = peak, peak_bar, valley
    curve[FALLING] = falling


@compiled
def next_event(events, words, start, wanted):  # type: ignore[no-untyped-def]
    """The first candle from `start` on with one of the bits `wanted`, or the candles' number."""
    n = len(events)
    i = start
    while i < n:
        if i % 8 == 0 and i // 8 < len(words) and words[i // 8] == 0:
            i += 8
        elif events[i] & wanted:
            return i
        else:
            i += 1
    return n


@compiled
def next_stop(open_, high, low, start, stop, position, entry, extreme, stops):  # type: ignore[no-untyped-def]
    """The first candle of `start` up to `stop` that hits a stop, its price, and the extreme.

    Where none does: `stop` and nan.
    """
    for i in range(start, stop):
        at = stop_price(position, entry, extreme, stops, open_[i], high[i], low[i])
        if at == at:
            return i, at, extreme
        extreme = max(extreme, high[i]) if position > 0.0 else min(extreme, low[i])
    return stop, np.nan, extreme


@compiled
def simulate(history, events, words, at_open, costs, stops, sizing, tally, trades, equity):  # type: ignore[no-untyped-def]
    """Run one account and fill `tally` (and, where they have room, `trades` and `equity`).

    events: the signals' bits, at the candle that executes them; words: the same memory,
    eight candles a word. costs: fee, fixed fee, smallest order, slippage, funding per candle
    for shorts. sizing: kind, amount, cash to begin with.
    """
    # Unpacked once: each look into the tuple costs an atomic count.
    open_, high, low, close, market, sums, highest, lowest = history
    n = len(close)
    account, curve = np.zeros(ACCOUNT_ROWS), np.zeros(CURVE_ROWS)
    cash, position, entry, extreme = sizing[2], 0.0, np.nan, np.nan
    account[CASH] = account[FREE_CASH] = cash
    curve[BEFORE] = curve[GROWTH] = curve[PEAK] = cash
    tally[:] = 0.0
    tally[k.BEST], tally[k.WORST] = -np.inf, np.inf
    slippage, funding = costs[3], costs[4]
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
                hold(
                    close, market, sums, highest, lowest, i, j, cash, position, curve, tally
                )
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
        trade(i, bits, at, slippage, costs, sizing, account, tally, trades)
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


@compiled
def pay_funding(account, price, rate, tally):  # type: ignore[no-untyped-def]
    """Charge a short position for one candle; return the cash left."""
    paid = -account[POSITION] * price * rate
    account[CASH] -= paid
    account[FREE_CASH] -= paid
    tally[k.FUNDING] += paid
    return account[CASH]
