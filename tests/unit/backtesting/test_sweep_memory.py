"""A sweep keeps within the memory that it is allowed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finsight.backtesting import sweep
from finsight.backtesting.memory import tables_within
from finsight.domain.errors import InvalidInput
from tests.builders import a_walk

MIB = 2**20

MEASURED = """
import sys
from pathlib import Path
from finsight.backtesting import sweep
from tests.builders import a_walk

def resident(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) * 1024

walk = a_walk(30_000, seed=2)
sweep(walk, "ma_cross", {"fast": [3], "slow": [9]})
Path("/proc/self/clear_refs").write_text("5")  # Compiling took more: the peak starts anew.
before = resident("VmRSS")
allowed = int(sys.argv[1]) or None
grid = {"fast": range(5, 405), "slow": range(410, 810, 16)}
sweep(walk, "ma_cross", grid, block_sets=16_384, memory_bytes=allowed)
print(resident("VmHWM") - before)
"""


def taken(allowed: int) -> int:
    """Bytes that a sweep of 10,000 sets takes at its worst moment."""
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(allowed)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")
def test_a_sweep_takes_no_more_than_it_is_allowed() -> None:
    allowed = 96 * MIB
    assert taken(0) > allowed  # Or the limit would not be felt.
    assert taken(allowed) <= allowed


def test_a_limit_changes_no_row() -> None:
    walk, grid = a_walk(2_000), {"fast": range(5, 15), "slow": range(20, 60, 5)}
    limited = sweep(walk, "ma_cross", grid, memory_bytes=40 * MIB)
    assert limited.to_pandas().equals(sweep(walk, "ma_cross", grid).to_pandas())


def test_too_little_is_refused_with_how_much_is_enough() -> None:
    with pytest.raises(InvalidInput, match=r"threads in each: 1.* 5\d\d MiB .* allowed 100 MiB"):
        tables_within(100 * MIB, 1_000_000, 2_048, 73_265, 256 * MIB, workers=2, threads=1)
    plenty = tables_within(2**31, 1_000_000, 2_048, 73_265, 256 * MIB, workers=2, threads=1)
    assert plenty == 256 * MIB


def test_what_threads_have_under_way_is_taken_off_the_tables() -> None:
    def tables(threads: int) -> int:
        return tables_within(512 * MIB, 10_000, 2_048, 73_265, 2**40, workers=1, threads=threads)

    assert tables(2) - tables(34) == 32 * 8 * 8 * 73_265
