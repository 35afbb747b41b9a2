"""A large sweep over Ray Data against the bare kernel: time, memory, crashes, scaling.

`python -m benchmarks.sweep_over_ray [--candles FILE.parquet] [--side 1000]`

Moving-average pairs, side x side of them, over every candle of the file, on as many CPUs as
the machine has: first as Ray Data tasks, then in threads of this process, then as such tasks
in a process that is killed with its cluster when half of the blocks are kept, and resumed. All
three must give the same bits. Ray's start is not counted, the pipeline's is. Memory is what all
processes hold together at the worst moment, shared pages counted once (PSS), sampled twice
a second while Ray works. Last, the same sets on one worker and on two.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from benchmarks.backtest_vs_vectorbt import COSTS, SHARED, timed
from benchmarks.report import print_figure
from finsight.backtesting import sweep
from finsight.backtesting.blocks import BLOCK_SETS, tiled
from finsight.backtesting.built_in import BUILT_IN
from finsight.backtesting.parameter_sets import parameter_sets


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
    options.add_argument("--only-into", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    candles = pq.read_table(chosen.candles)
    side, cpus = chosen.side, os.cpu_count() or 1
    if chosen.only_into is not None:
        with a_ray(cpus):
            swept(candles, side, chosen.only_into)
        return
    print(f"{side * side:,} parameter sets, {candles.num_rows:,} candles, {cpus} CPUs", flush=True)

    def work() -> pa.Table:
        return swept(candles, side)

    swept(candles, 8)  # compiles
    with a_ray(cpus):
        memory = Memory()
        memory.start()
        ray_s, spread = timed(work)
        memory.over.set()
    bare_s, bare = timed(work)
    print(f"bare kernel, {cpus} threads: {bare_s:.1f} s", flush=True)
    print(f"the same bits: {said(same(bare, spread))}", flush=True)
    print_figure("sweep over Ray Data, against the bare kernel", ray_s, bare_s, "s", 1.2)
    print_figure("memory of all processes, against 4 GiB", memory.peak / 2**30, 4.0, "GiB", 1.0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "parts"
        kept, blocks = killed_halfway(folder, chosen.candles, side)
        with a_ray(cpus):
            resumed_s, resumed = timed(lambda: swept(candles, side, folder))
    print(
        f"killed with {kept} of {blocks} blocks kept, resumed in {resumed_s:.1f} s; the same bits: "
        f"{said(same(bare, resumed))}",
        flush=True,
    )
    seconds = {}
    for workers in (1, 2):
        with a_ray(workers):
            swept(candles, 128)  # Workers are started, and have compiled.
            seconds[workers], _ = timed(work)
    print_figure("one worker against two", seconds[1], seconds[2], "s", 1.8, better="higher")


def swept(candles: pa.Table, side: int, out: Path | None = None) -> pa.Table:
    """Do the sweep, over Ray where it is there; go on from what is in `out`."""
    return sweep(candles, "ma_cross", grid_of(side), costs=COSTS, out=out, resume=out is not None)


@contextmanager
def a_ray(cpus: int) -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=cpus,
        object_store_memory=1 << 30,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


def killed_halfway(folder: Path, candles: Path, side: int) -> tuple[int, int]:
    """Kill -9 a sweep and its Ray when half of its blocks are there; return how many."""
    blocks = len(tiled(parameter_sets(BUILT_IN["ma_cross"], grid_of(side)), BLOCK_SETS))
    command = [sys.executable, "-m", "benchmarks.sweep_over_ray", "--candles", str(candles)]
    command += ["--side", str(side), "--only-into", str(folder)]
    child = subprocess.Popen(command, start_new_session=True)
    while len(kept := list(folder.glob("part-*.parquet"))) < blocks // 2:
        if child.poll() is not None:
            raise SystemExit("the sweep ended before it could be killed")
        time.sleep(0.2)
    for process in [*psutil.Process(child.pid).children(recursive=True), child]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    child.wait()
    return len(kept), blocks


def grid_of(side: int) -> dict[str, range]:
    return {"fast": range(2, 2 + side), "slow": range(2 + side, 2 + 2 * side)}


def same(one: pa.Table, other: pa.Table) -> bool:
    """Equal to the bit, nan being equal to nan."""
    return bool(one.to_pandas().equals(other.to_pandas()))


def said(yes: bool) -> str:
    return "yes" if yes else "NO"


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"{time.perf_counter() - began:.0f} s in all")
