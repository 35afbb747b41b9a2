"""One account over all candles: orders, stops, valuation, and the sums the statistics need."""

from __future__ import annotations

import numpy as np

from finsight.backtesting import kernel as k
from finsight.backtesting.compiled import compiled
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
def simulate(open_, high, low, close, market, events, at_open, costs, stops, sizing, tally, trades, equity):  # type: ignore[no-untyped-def]  # noqa: E501
    """Run one account and fill `tally` (and, where they have room, `trades` and `equity`).

    market: the candles' own returns, close to close; the first is 0.
    events: the signals' bits, at the candle that executes them.
    costs: fee, fixed fee, smallest size, slippage, funding per candle for shorts.
    sizing: kind, amount, cash to begin with.
    """
    n = len(close)
    account = np.zeros(ACCOUNT_ROWS)
    cash = sizing[2]
    account[CASH] = cash
    account[FREE_CASH] = cash
    tally[:] = 0.0
    tally[k.BEST], tally[k.WORST] = -np.inf, np.inf
    slippage, funding = costs[3], costs[4]
    has_stops = not (np.isnan(stops[0]) and np.isnan(stops[1]) and np.isnan(stops[2]))
    keeps_equity = len(equity) > 0
    position, entry, extreme = 0.0, np.nan, np.nan
    before, growth, ruined = cash, cash, False
    s1 = s2 = s3 = s4 = neg = neg2 = with_market = 0.0
    peak, peak_bar, valley, falling, deepest = cash, -1, cash, False, 0.0
    drawdowns = sum_drawdown = sum_drawdown_bars = max_drawdown_bars = sum_drawdown2 = 0.0
    held = 0
    wanted = LONG_ENTRY | SHORT_ENTRY
    i = 0
    while i < n:
        if position == 0.0:
            # Nothing happens to an account without a position: go straight to the next entry.
            first = i
            while i < n and not events[i] & wanted:
                i += 1
            if i > first:
                if first == 0:
                    peak = cash
                if falling:
                    sum_drawdown2 += (i - first) * (growth / peak - 1.0) ** 2
                else:
                    peak_bar = i - 1
                if keeps_equity:
                    equity[first:i] = cash
                if i == n:
                    break
        at, bits = 0.0, 0
        if position != 0.0 and has_stops:
            at = stop_price(position, entry, extreme, stops, open_[i], high[i], low[i])
            if at == at:
                bits = LONG_EXIT if position > 0 else SHORT_EXIT
                tally[k.STOPPED] += 1
            extreme = max(extreme, high[i]) if position > 0 else min(extreme, low[i])
        if bits == 0 and events[i]:
            bits = RESOLVED[events[i]]
            at = open_[i] if at_open else close[i]
        if bits:
            trade(i, bits, at, slippage, costs, sizing, account, tally, trades)
            after = account[POSITION]
            if after != 0.0 and (position == 0.0 or (after > 0) != (position > 0)):
                entry = account[FILL_PRICE]
                extreme = entry
            position, cash = after, account[CASH]
        if position < 0.0 and funding != 0.0:
            paid = -position * close[i] * funding
            account[CASH] -= paid
            account[FREE_CASH] -= paid
            cash = account[CASH]
            tally[k.FUNDING] += paid
        value = cash + position * close[i] if position != 0.0 else cash
        if keeps_equity:
            equity[i] = value
        held += position != 0.0
        if before > 0.0:
            r = value / before - 1.0
        elif before < 0.0:
            r = (value - before) / -before
        else:
            r = 0.0 if value == 0.0 else np.inf * np.sign(value)
        growth = growth * (1.0 + r) if ruined else value
        ruined = ruined or value <= 0.0
        before = value
        r2 = r * r
        s1 += r
        s2 += r2
        s3 += r2 * r
        s4 += r2 * r2
        with_market += r * market[i]
        if r < 0.0:
            neg += r
            neg2 += r2
        if growth >= peak or i == 0:
            if falling:
                drawdowns += 1
                sum_drawdown += valley / peak - 1.0
                sum_drawdown_bars += i - peak_bar - 1
                max_drawdown_bars = max(max_drawdown_bars, i - peak_bar - 1)
                deepest = min(deepest, valley / peak - 1.0)
                falling = False
            peak, peak_bar, valley = growth, i, growth
        else:
            valley = min(valley, growth) if falling else growth
            falling = True
            sum_drawdown2 += (growth / peak - 1.0) ** 2
        i += 1
    if falling:
        drawdowns += 1
        sum_drawdown += valley / peak - 1.0
        sum_drawdown_bars += n - peak_bar - 1
        max_drawdown_bars = max(max_drawdown_bars, n - peak_bar - 1)
        deepest = min(deepest, valley / peak - 1.0)
    if account[ENTRY_SIZE] > 0 and not is_close(account[ENTRY_SIZE], 0.0):
        close_trade(
            n - 1, account, tally, trades, account[ENTRY_SIZE], close[n - 1], 0.0, 1.0
        )
    tally[k.BARS], tally[k.SUM_R], tally[k.SUM_R2], tally[k.SUM_R3] = n, s1, s2, s3
    tally[k.SUM_R4], tally[k.SUM_NEG], tally[k.SUM_NEG2], tally[k.SUM_RB] = s4, neg, neg2, with_market
    tally[k.FINAL_VALUE], tally[k.MAX_DRAWDOWN], tally[k.DRAWDOWNS] = before, deepest, drawdowns
    tally[k.SUM_DRAWDOWN], tally[k.SUM_DRAWDOWN_BARS] = sum_drawdown, sum_drawdown_bars
    tally[k.MAX_DRAWDOWN_BARS], tally[k.SUM_DRAWDOWN2] = max_drawdown_bars, sum_drawdown2
    tally[k.BARS_HELD], tally[k.RUINED] = held, ruined
