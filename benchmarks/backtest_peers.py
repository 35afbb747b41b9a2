"""A small sweep against backtesting.py and backtrader, which simulate one bar after another.

`pip install backtesting backtrader`, then
`python -m benchmarks.backtest_peers [--candles FILE.parquet]`

The same moving averages, fee and execution at the next open, no slippage, long only. Their
money management differs from ours in the last per mille (backtesting.py buys whole units with
99.99 % of the cash, backtrader 99 % at the signal's price), so the number of trades is held
equal and the largest difference in return is printed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.backtest_vs_vectorbt import SHARED
from benchmarks.report import print_figure
from finsight.backtesting import sweep

CANDLES = 5_000
WINDOWS = [10, 20, 40, 80, 120, 200]  # 15 pairs
FEE = 0.001
CASH = 1e10
"""So much that whole units of bitcoin round nothing away."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--candles", type=Path, default=SHARED)
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("TQDM_DISABLE", "1")  # backtesting.py shows a bar for every set.
    table = pq.read_table(chosen.candles)
    table = table.slice(max(0, table.num_rows - CANDLES))
    frame = table.to_pandas()
    frame.index = pd.to_datetime(frame.pop("ts"), unit="ms")
    grid = {"fast": WINDOWS, "slow": WINDOWS}
    sweep(table, "ma_cross", grid, costs={"fee": FEE})  # compiles
    began = time.perf_counter()
    found = sweep(table, "ma_cross", grid, costs={"fee": FEE})
    own_s = time.perf_counter() - began
    pairs = list(zip(*(found.column(name).to_pylist() for name in grid), strict=True))
    for name, peer in (("backtesting.py", backtesting_py), ("backtrader", backtrader)):
        began = time.perf_counter()
        try:
            theirs = [peer(frame, fast, slow) for fast, slow in pairs]
        except ModuleNotFoundError as exc:
            print(f"{name} is not installed ({exc.name}): skipped", file=sys.stderr)
            continue
        peer_s = time.perf_counter() - began
        returns, trades = np.array(theirs).T
        apart = np.abs(found.column("trades").to_numpy() - trades)
        assert apart.max() == 0, f"{name} traded otherwise: {apart}"
        off = np.abs(found.column("total_return").to_numpy() - returns).max()
        what = f"ma_cross x {len(pairs)} over {len(frame):,}, beside {name}"
        print_figure(what, len(pairs) / own_s, len(pairs) / peer_s, "sets/s", 1, better="higher")
        print(f"  as many trades in each; largest difference in total return {off:.4f}")


def backtesting_py(frame: pd.DataFrame, fast: int, slow: int) -> tuple[float, float]:
    """Total return and trades of backtesting.py."""
    from backtesting import Backtest, Strategy
    from backtesting.lib import crossover

    def mean(values: Any, window: int) -> pd.Series:
        return pd.Series(values).rolling(window).mean()

    class Crossing(Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.fast = self.I(mean, self.data.Close, fast)
            self.slow = self.I(mean, self.data.Close, slow)

        def next(self) -> None:
            if crossover(self.fast, self.slow):
                self.buy()
            elif crossover(self.slow, self.fast):
                self.position.close()

    data = frame.rename(columns=str.title)
    test = Backtest(data, Crossing, cash=CASH, commission=FEE, finalize_trades=True)
    result = test.run()
    return result["Return [%]"] / 100, result["# Trades"]


def backtrader(frame: pd.DataFrame, fast: int, slow: int) -> tuple[float, float]:
    """Total return and trades of backtrader."""
    import backtrader as bt

    class Crossing(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            means = [bt.ind.SMA(self.data.close, period=window) for window in (fast, slow)]
            self.crossing = bt.ind.CrossOver(*means)
            self.entries = 0

        def next(self) -> None:
            if self.crossing > 0 and not self.position:
                self.order_target_percent(target=0.99)
                self.entries += 1
            elif self.crossing < 0 and self.position:
                self.close()

    cerebro = bt.Cerebro()
    cerebro.addstrategy(Crossing)
    cerebro.adddata(bt.feeds.PandasData(dataname=frame))
    cerebro.broker.setcash(CASH)
    cerebro.broker.setcommission(commission=FEE)
    [ran] = cerebro.run()
    return cerebro.broker.getvalue() / CASH - 1, ran.entries


if __name__ == "__main__":
    main()
