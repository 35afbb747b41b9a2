"""Indicators over whole histories, each point-in-time: row i uses candles up to i alone.

All take and give float64 arrays of one value a candle; until there is enough history a
value is nan. n below is the window, x the closes.
"""

from __future__ import annotations

import numpy as np

from finsight.backtesting.compiled import compiled, uncounted


@compiled
def simple_average(x: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last n values: (S_i - S_{i-n}) / n, where S_i = x_0 + … + x_i.

    The order of the additions is vectorbt's (`rolling_mean_1d_nb`), so that two averages
    that tie there tie here. Source: any text; as in `vectorbt.MA`.
    """
    out = np.full(len(x), np.nan)
    sums = np.empty(len(x))
    total = 0.0
    for i in range(len(x)):
        total += x[i]
        sums[i] = total
        if i >= window:
            out[i] = (total - sums[i - window]) / window
        elif i == window - 1:
            out[i] = total / window
    return out


@compiled
def exponential_average(x: np.ndarray, span: int) -> np.ndarray:
    """e_i = (1 - a) e_{i-1} + a x_i with a = 2 / (n + 1), from e_0 = x_0; shown from n values on.

    Leading nans of `x` are stepped over. Source: pandas `ewm(span=n, adjust=False)`.
    """
    out = np.empty(len(x))
    average_into(x, span, out)
    return out


@uncounted
def average_into(x: np.ndarray, span: int, out: np.ndarray) -> None:
    """`exponential_average`, into an array that is there."""
    out[:] = np.nan
    com = (span - 1) / 2.0
    weight = 1.0 / (1.0 + com)
    kept = 1.0 - weight
    total = kept + weight
    seen, average = 0, np.nan
    for i in range(len(x)):
        if x[i] == x[i]:
            if seen == 0:
                average = x[i]
            elif average != x[i]:
                average = kept * average + weight * x[i]
                if total != 1.0:  # only where rounding says so; a division a candle is dear
                    average /= total
            seen += 1
        if seen >= span:
            out[i] = average


@compiled
def deviation(x: np.ndarray, window: int) -> np.ndarray:
    """Population standard deviation of the last n values: sqrt(mean((x - mean(x))²)).

    Kept by Welford's updates (Welford 1962, "Note on a method for calculating corrected
    sums of squares and products") and begun afresh every n or 512 candles, whichever is
    more, so that rounding can't build up. Source of the choice of population: Bollinger
    2001, "Bollinger on Bollinger Bands".
    """
    out = np.full(len(x), np.nan)
    afresh = max(window, 512)
    mean = squares = 0.0
    for i in range(window - 1, len(x)):
        if (i - window + 1) % afresh == 0:
            mean = 0.0
            for j in range(i - window + 1, i + 1):
                mean += x[j]
            mean /= window
            squares = 0.0
            for j in range(i - window + 1, i + 1):
                squares += (x[j] - mean) ** 2
        else:
            new, old = x[i], x[i - window]
            before = mean
            mean += (new - old) / window
            squares += (new - old) * (new - mean + old - before)
        out[i] = np.sqrt(max(squares, 0.0) / window)
    return out


@compiled
def relative_strength(x: np.ndarray, window: int) -> np.ndarray:
    """Wilder's RSI: 100 - 100 / (1 + U / D), in [0, 100]; 50 where nothing moved.

    U and D are the smoothed rises and falls: the mean of the first n changes, then
    U_i = ((n - 1) U_{i-1} + rise_i) / n. Source: Wilder 1978, "New Concepts in Technical
    Trading Systems".
    """
    out = np.full(len(x), np.nan)
    up = down = 0.0
    for i in range(1, len(x)):
        change = x[i] - x[i - 1]
        rise, fall = max(change, 0.0), max(-change, 0.0)
        if i <= window:
            up += rise / window
            down += fall / window
        else:
            up = ((window - 1) * up + rise) / window
            down = ((window - 1) * down + fall) / window
        if i >= window:
            moved = up + down
            out[i] = 100.0 * up / moved if moved > 0 else 50.0
    return out


@compiled
def earlier_highest(x: np.ndarray, window: int) -> np.ndarray:
    """The highest of the n values before this one: max(x_{i-n}, …, x_{i-1}).

    Source: Donchian's four-week rule, as in Faith 2007, "Way of the Turtle".
    """
    out = np.full(len(x), np.nan)
    queue = np.empty(len(x), dtype=np.int64)
    first = last = 0
    for i in range(len(x)):
        if i >= window:
            while queue[first] < i - window:
                first += 1
            out[i] = x[queue[first]]
        while last > first and x[queue[last - 1]] <= x[i]:
            last -= 1
        queue[last] = i
        last += 1
    return out


@compiled
def earlier_lowest(x: np.ndarray, window: int) -> np.ndarray:
    """The lowest of the n values before this one: min(x_{i-n}, …, x_{i-1})."""
    return -earlier_highest(-x, window)
