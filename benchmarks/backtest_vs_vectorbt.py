"""Sweeps against vectorbt's `Portfolio.from_signals`: the same figures, and how long they take.

`python -m benchmarks.backtest_vs_vectorbt [--candles FILE.parquet] [--quick]`

Both sides compute their indicators, both are warm (compiled), both pay fees and slippage and
execute at the next open, in one run of this file. vectorbt runs in one thread, as it does;
ours in as many as the machine has processors. A line is printed only after the figures of
both were compared: total return, Sharpe, maximum drawdown and trades, every set, to 1e-9.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.report import print_figure
from finsight.backtesting import sweep
from finsight.backtesting.candle_arrays import CandleArrays, candle_arrays
from finsight.backtesting.indicators import relative_strength

SHARED = Path(__file__).parents[2] / "shared/data/candles/binance/BTC-USDT/1h.parquet"
CANDLES = 20_000
COSTS = {"fee": 0.001, "slippage": 0.0005}
WINDOWS = list(range(10, 260, 5))  # 50 windows: 1,225 pairs
# About as many sets for every strategy; --quick takes every third value.
FAST, SLOW, SIGNAL = list(range(5, 16)), list(range(20, 42, 2)), list(range(4, 14))  # of MACD
LOWER, UPPER = [20.0, 24, 28, 32, 36], [64.0, 68, 72, 76, 80]  # of RSI
WIDTHS = [round(1.0 + 0.1 * step, 1) for step in range(25)]  # of Bollinger's bands
EXITS = list(range(5, 130, 5))  # of Donchian's channel
COMPARED = ("total_return", "sharpe", "max_drawdown", "trades")
Signals = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--candles", type=Path, default=SHARED)
    options.add_argument("--quick", action="store_true", help="fewer sets, for trying it out")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    # The newest 20,000 candles that are there.
    table = pq.read_table(chosen.candles)
    table = table.slice(max(0, table.num_rows - CANDLES))
    candles = candle_arrays(table)
    windows = WINDOWS[:12] if chosen.quick else WINDOWS
    pairs = {"fast": windows, "slow": windows}
    compare("ma_cross", table, pairs, {}, "long", ma_signals(candles, windows), 150)
    stops = {"stop_loss": 0.03, "take_profit": 0.06}
    for name, grid, signals in others(candles, windows, 3 if chosen.quick else 1):
        compare(name, table, grid, stops, "both", signals, 50)
        compare(name, table, grid, {"trailing_stop": 0.04}, "short", signals, 50)


def compare(
    strategy: str,
    table: Any,
    grid: dict[str, list[float]],
    stops: dict[str, float],
    direction: str,
    signals: Callable[[], Signals],
    target: float,
) -> None:
    """Time both, hold their figures equal, print one line."""
    ours = lambda: sweep(table, strategy, grid, costs=COSTS, stops=stops, direction=direction)  # noqa: E731
    ours()
    own_s, found = min((timed(ours) for _ in range(3)), key=lambda pair: pair[0])
    candles = candle_arrays(table)
    vectorbt(candles, [side[:, :2] for side in signals()], stops, direction)  # compiles
    peer_s, theirs = timed(lambda: vectorbt(candles, signals(), stops, direction))
    for name, expected in theirs.items():
        own = found.column(name).to_numpy()
        idle = found.column("trades").to_numpy() == 0
        np.testing.assert_allclose(
            np.where(idle, 0, own), np.where(idle, 0, expected), rtol=1e-9, atol=1e-9, err_msg=name
        )
    what = f"{strategy} x {found.num_rows}, {direction}, {', '.join(stops) or 'no stops'}"
    sets = found.num_rows
    print_figure(what, sets / own_s, sets / peer_s, "sets/s", target, better="higher")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def vectorbt(
    candles: CandleArrays, signals: Any, stops: dict[str, float], direction: str
) -> dict[str, np.ndarray]:
    """What vectorbt finds, one column a set; orders one candle after their signals."""
    import vectorbt as vbt

    long_in, long_out, short_in, short_out = (_next(side) for side in signals)
    if direction == "long":
        short_in = short_out = np.zeros_like(long_in)
    if direction == "short":
        long_in = long_out = np.zeros_like(short_in)
    index = pd.to_datetime(candles.ts_ms, unit="ms", utc=True)
    given: dict[str, Any] = {}
    if stops:
        given = {
            "open": candles.open[:, None],
            "high": candles.high[:, None],
            "low": candles.low[:, None],
            "sl_stop": stops.get("stop_loss", stops.get("trailing_stop", np.nan)),
            "sl_trail": "trailing_stop" in stops,
            "tp_stop": stops.get("take_profit", np.nan),
            "stop_entry_price": "fillprice",
            "stop_exit_price": "stopmarket",
        }
    pf = vbt.Portfolio.from_signals(
        pd.Series(candles.close, index),
        entries=long_in,
        exits=long_out,
        short_entries=short_in,
        short_exits=short_out,
        price=candles.open[:, None],
        fees=COSTS["fee"],
        slippage=COSTS["slippage"],
        freq="1h",
        **given,
    )
    found = (pf.total_return(), pf.sharpe_ratio(), pf.max_drawdown(), pf.trades.count())
    return {n: np.atleast_1d(v) for n, v in zip(COMPARED, found, strict=True)}


def _next(side: np.ndarray) -> np.ndarray:
    return np.vstack([np.zeros((1, side.shape[1]), dtype=bool), side[:-1]])


def _both_ways(above: Any, below: Any) -> Signals:
    above, below = np.asarray(above, dtype=bool), np.asarray(below, dtype=bool)
    return above, below, below, above


def ma_signals(candles: CandleArrays, windows: list[int]) -> Callable[[], Signals]:
    def signals() -> Signals:
        import vectorbt as vbt

        fast, slow = vbt.MA.run_combs(pd.Series(candles.close), windows, r=2)
        return _both_ways(fast.ma_crossed_above(slow), fast.ma_crossed_below(slow))

    return signals


def others(
    candles: CandleArrays, windows: list[int], step: int
) -> list[tuple[str, dict[str, list[float]], Callable[[], Signals]]]:
    """Every strategy, its grid, and its signals as vectorbt's indicators make them."""
    import vectorbt as vbt

    close = pd.Series(candles.close)
    lower, upper, widths, exits = LOWER[::step], UPPER[::step], WIDTHS[::step], EXITS[::step]
    fast, slow, signal = FAST[::step], SLOW[::step], SIGNAL[::step]
    levels = [(low, high) for low in lower for high in upper]
    spans = [(f, s, g) for f in fast for s in slow for g in signal]

    def rsi() -> Signals:
        # vectorbt has no Wilder smoothing; the strength is ours, the crossings are its own.
        rows = [
            (relative_strength(candles.close, w), low, up) for w in windows for low, up in levels
        ]
        strength = pd.DataFrame(np.column_stack([row[0] for row in rows]))
        low = pd.DataFrame(np.tile([float(row[1]) for row in rows], (len(close), 1)))
        up = pd.DataFrame(np.tile([float(row[2]) for row in rows], (len(close), 1)))
        return _both_ways(strength.vbt.crossed_below(low), strength.vbt.crossed_above(up))

    def bollinger() -> Signals:
        windows_, widths_ = np.repeat(windows, len(widths)), np.tile(widths, len(windows))
        bands = vbt.BBANDS.run(close, window=windows_.tolist(), alpha=widths_.tolist())
        return (
            np.asarray(bands.close_crossed_below(bands.lower)),
            np.asarray(bands.close_crossed_above(bands.middle)),
            np.asarray(bands.close_crossed_above(bands.upper)),
            np.asarray(bands.close_crossed_below(bands.middle)),
        )

    def macd() -> Signals:
        fasts, slows, smooth = (list(column) for column in zip(*spans, strict=True))
        lines = vbt.MACD.run(
            close, fasts, slows, smooth, macd_ewm=True, signal_ewm=True, adjust=False
        )
        return _both_ways(
            lines.macd_crossed_above(lines.signal), lines.macd_crossed_below(lines.signal)
        )

    def donchian() -> Signals:
        high, low = pd.Series(candles.high), pd.Series(candles.low)
        columns: list[list[np.ndarray]] = [[], [], [], []]
        for window in windows:
            for out in exits:
                columns[0].append(close > high.rolling(window).max().shift(1))
                columns[1].append(close < low.rolling(out).min().shift(1))
                columns[2].append(close < low.rolling(window).min().shift(1))
                columns[3].append(close > high.rolling(out).max().shift(1))
        sides = [np.column_stack(side) for side in columns]
        return sides[0], sides[1], sides[2], sides[3]

    pairs: dict[str, list[float]] = {"fast": list(windows), "slow": list(windows)}
    several: list[tuple[str, dict[str, list[float]], Callable[[], Signals]]] = [
        ("ma_cross", pairs, ma_signals(candles, windows)),
        ("rsi", {"window": list(windows), "lower": lower, "upper": upper}, rsi),
        ("bollinger", {"window": list(windows), "width": widths}, bollinger),
        ("macd", {"fast": list(fast), "slow": list(slow), "signal": list(signal)}, macd),
        ("donchian", {"entry": list(windows), "exit": exits}, donchian),
    ]
    return several


if __name__ == "__main__":
    main()
