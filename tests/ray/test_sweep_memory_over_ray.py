"""The limit of memory holds for the driver and the workers of a sweep over Ray together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MIB = 2**20

MEASURED = """
import sys, threading, time
import psutil
import ray
from finsight.backtesting import sweep
from tests.builders import a_walk

def held():
    # Without what is shared: the object store has a size of its own.
    lines = (open(f"/proc/{pid}/status").read().splitlines() for pid in pids)
    own = [int(line.split()[1]) for some in lines for line in some if line.startswith("RssAnon")]
    return sum(own) * 1024

def watch():
    while not over.wait(0.01):
        global most
        most = max(most, held())

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
walk = a_walk(60_000, seed=2)
small = {"fast": range(3, 67), "slow": range(70, 90)}

@ray.remote(num_cpus=1)
def compiled():
    sweep(walk, "ma_cross", small)
    time.sleep(2)  # So that no worker does the other's, too.

# Both workers are started and have compiled: what a process takes to live is not a sweep's.
ray.get([compiled.remote(), compiled.remote()])
sweep(walk, "ma_cross", small, block_sets=128)
driver = psutil.Process()
workers = [one.pid for one in driver.children(recursive=True) if one.name().startswith("ray::")]
pids, over = [driver.pid, *workers], threading.Event()
before = most = held()
watching = threading.Thread(target=watch)
watching.start()
grid = {"fast": range(5, 405), "slow": range(410, 510)}
sweep(walk, "ma_cross", grid, block_sets=20_000, memory_bytes=int(sys.argv[1]) or None)
over.set()
watching.join()
print("most", most - before)
"""


def taken(allowed: int) -> int:
    """Bytes that a sweep of 40,000 sets takes at its worst moment, in all processes."""
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, "RAY_AUTH_MODE": "disabled"}
    env.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(allowed)],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")
def test_all_processes_together_take_no_more_than_is_allowed() -> None:
    allowed = 160 * MIB
    assert taken(0) > allowed  # Or the limit would not be felt.
    assert taken(allowed) <= allowed
