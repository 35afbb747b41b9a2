"""A large sweep over Ray Data against the bare kernel: time, memory, and the same bits.

`python -m benchmarks.sweep_over_ray [--candles FILE.parquet] [--side 1000]`

Moving-average pairs, side x side of them, over every candle of the file, on as many CPUs as
the machine has: first in threads of this process, then as Ray Data tasks. Ray's start is
not counted, the pipeline's is. Memory is what all processes hold together at the worst
moment, shared pages counted once (PSS), sampled twice a second while Ray works.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from pathlib import Path

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import psutil
import pyarrow.parquet as pq
import ray

from benchmarks.backtest_vs_vectorbt import COSTS, SHARED, timed
from benchmarks.report import print_figure
from finsight.backtesting import sweep


class Memory(threading.Thread):
    """Watches the memory of this process and everything it started."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            held = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    held += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, held)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--candles", type=Path, default=SHARED)
    options.add_argument("--side", type=int, default=1_000)
    chosen = options.parse_args()
    candles = pq.read_table(chosen.candles)
    side = chosen.side
    grid = {"fast": range(2, 2 + side), "slow": range(2 + side, 2 + 2 * side)}
    cpus = os.cpu_count() or 1
    print(f"{side * side:,} parameter sets, {candles.num_rows:,} candles, {cpus} CPUs", flush=True)

    def work() -> object:
        return sweep(candles, "ma_cross", grid, costs=COSTS)

    sweep(candles, "ma_cross", {"fast": [3], "slow": [9]}, costs=COSTS)  # compiles
    bare_s, bare = timed(work)
    print(f"bare kernel, {cpus} threads: {bare_s:.1f} s", flush=True)
    ray.init(
        address="local",
        num_cpus=cpus,
        object_store_memory=1 << 30,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    memory = Memory()
    memory.start()
    ray_s, spread = timed(work)
    memory.over.set()
    ray.shutdown()
    same = bare.to_pandas().equals(spread.to_pandas())  # type: ignore[attr-defined]
    print(f"the same bits: {'yes' if same else 'NO'}", flush=True)
    print_figure("sweep over Ray Data, against the bare kernel", ray_s, bare_s, "s", 1.2)
    print_figure("memory of all processes, against 4 GiB", memory.peak / 2**30, 4.0, "GiB", 1.0)


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"{time.perf_counter() - began:.0f} s in all")
