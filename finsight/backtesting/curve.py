"""The account's value, candle by candle: returns and drawdowns, added up as they come."""

from __future__ import annotations

import numpy as np

from finsight.backtesting import kernel as k
from finsight.backtesting.compiled import inlined, uncounted
from finsight.backtesting.history import extremes

# Rows of `curve`: the value so far and its drawdowns. GROWTH is the product of 1 + r times
# the first cash, which is the value until that reaches zero.
BEFORE, GROWTH, PEAK, PEAK_BAR, VALLEY, FALLING, DEEPEST = 0, 1, 2, 3, 4, 5, 6
CURVE_ROWS = 7


@inlined
def end_drawdown(i: int, curve: np.ndarray, tally: np.ndarray) -> None:
    """Count a drawdown that is over, or still goes on when the candles end at i - 1."""
    depth = curve[VALLEY] / curve[PEAK] - 1.0
    bars = i - curve[PEAK_BAR] - 1
    tally[k.DRAWDOWNS] += 1
    tally[k.SUM_DRAWDOWN] += depth
    tally[k.SUM_DRAWDOWN_BARS] += bars
    tally[k.MAX_DRAWDOWN_BARS] = max(tally[k.MAX_DRAWDOWN_BARS], bars)
    curve[DEEPEST] = min(curve[DEEPEST], depth)
    curve[FALLING] = 0.0


@inlined
def draw(i: int, growth: float, curve: np.ndarray, tally: np.ndarray) -> None:
    """Follow the drawdowns one candle on. Reaching the old peak again ends one."""
    if growth >= curve[PEAK] or i == 0:
        if curve[FALLING]:
            end_drawdown(i, curve, tally)
        curve[PEAK], curve[PEAK_BAR] = growth, i
    else:
        curve[VALLEY] = min(curve[VALLEY], growth) if curve[FALLING] else growth
        curve[FALLING] = 1.0


@inlined
def value_candle(i: int, value: float, market: float, curve: np.ndarray, tally: np.ndarray) -> None:
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


@uncounted
def draw_stretch(
    close: np.ndarray,
    start: int,
    stop: int,
    cash: float,
    position: float,
    curve: np.ndarray,
    tally: np.ndarray,
) -> None:
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


@inlined
def hold(
    close: np.ndarray,
    market: np.ndarray,
    sums: np.ndarray,
    highest: np.ndarray,
    lowest: np.ndarray,
    start: int,
    stop: int,
    cash: float,
    position: float,
    curve: np.ndarray,
    tally: np.ndarray,
) -> None:
    """Take in candles `start` up to `stop`, in which a position is held and nothing happens."""
    if cash == 0.0:
        top, bottom = extremes(close, highest, lowest, start, stop)
        best, worst = position * top, position * bottom
        s1, s2 = sums[stop, 0] - sums[start, 0], sums[stop, 1] - sums[start, 1]
        s3, s4 = sums[stop, 2] - sums[start, 2], sums[stop, 3] - sums[start, 3]
        neg, neg2 = sums[stop, 4] - sums[start, 4], sums[stop, 5] - sums[start, 5]
        with_market = s2
    else:
        best, worst = -np.inf, np.inf
        s1 = s2 = s3 = s4 = neg = neg2 = with_market = 0.0
        before = curve[BEFORE]
        for i in range(start, stop):
            value = cash + position * close[i]
            best, worst = max(best, value), min(worst, value)
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
    if worst <= 0.0 or tally[k.RUINED] or curve[BEFORE] <= 0.0:
        for i in range(start, stop):
            value_candle(i, cash + position * close[i], market[i], curve, tally)
        return
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
