"""Sweeps over Ray Data: the same rows, and a killed one goes on where it was."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from finsight.backtesting import permutation_test, sweep, walk_forward
from finsight.domain.errors import InvalidInput
from tests.builders import a_walk

# Ray Data reads its own deprecated options as it copies a context.
pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::FutureWarning"),
]
WALK = a_walk(1_500, seed=2)
GRID = {"fast": range(5, 35), "slow": range(10, 60, 5)}
OPTIONS = {"costs": {"fee": 0.001}, "direction": "both", "block_sets": 32}

KILLED = """
import sys
from finsight.backtesting import permutation_test, sweep, walk_forward
from tests.ray.test_sweep_over_ray import GRID, OPTIONS, WALK
def slow(progress):
    print("done", progress.done, flush=True)
    __import__("time").sleep(0.7)
sweep(WALK, "ma_cross", GRID, out=sys.argv[1], progress=slow, **OPTIONS)
"""


def same(a, b):
    """Equal to the bit, nan being equal to nan, metadata and all."""
    return a.to_pandas().equals(b.to_pandas()) and a.schema.metadata == b.schema.metadata


def test_blocks_in_one_process_change_nothing():
    whole = sweep(WALK, "ma_cross", GRID, costs={"fee": 0.001}, direction="both")
    assert same(sweep(WALK, "ma_cross", GRID, **OPTIONS), whole)


def test_a_sweep_that_was_killed_goes_on_where_it_was(tmp_path):
    whole = sweep(WALK, "ma_cross", GRID, **OPTIONS)
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
        cwd=root,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline().startswith("done")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    parts = sorted((tmp_path / "out").glob("part-*.parquet"))
    assert 2 <= len(parts) < 8
    times = {part: part.stat().st_mtime_ns for part in parts}
    seen = []
    table = sweep(
        WALK, "ma_cross", GRID, out=tmp_path / "out", resume=True, progress=seen.append, **OPTIONS
    )
    assert same(table, whole)
    assert {part: part.stat().st_mtime_ns for part in parts} == times
    assert seen[-1].done == seen[-1].total == table.num_rows


def test_a_folder_that_holds_another_sweep_is_refused(tmp_path):
    sweep(WALK, "ma_cross", GRID, out=tmp_path, **OPTIONS)
    with pytest.raises(InvalidInput, match="already holds a sweep"):
        sweep(WALK, "ma_cross", GRID, out=tmp_path, **OPTIONS)
    with pytest.raises(InvalidInput, match="another sweep"):
        sweep(WALK, "ma_cross", {"fast": [5, 6]}, out=tmp_path, resume=True, **OPTIONS)


def fails_at_eight(candles, window):
    if window == 8:
        raise ValueError("not eight")
    up = candles.close > candles.open
    return up, ~up


def test_over_ray_the_rows_are_the_same(ray_cluster, tmp_path, monkeypatch):
    seen = []
    windows = {"window": range(5, 12)}
    distributed = sweep(WALK, "ma_cross", GRID, out=tmp_path, progress=seen.append, **OPTIONS)
    partly = sweep(WALK, fails_at_eight, windows, block_sets=2)
    assert seen[-1].done == distributed.num_rows
    assert partly.column("error").null_count == 6

    # `finsight.backtesting.sweep` is the function; the module has the same name.
    module = importlib.import_module("finsight.backtesting.sweep")
    monkeypatch.setattr(module, "has_ray", lambda: False)
    assert same(distributed, sweep(WALK, "ma_cross", GRID, **OPTIONS))
    assert same(partly, sweep(WALK, fails_at_eight, windows, block_sets=2))


@pytest.mark.parametrize("bytes_at_once", [2_000, 1 << 20])  # blocks cut in pieces; put together
def test_a_worker_that_is_killed_loses_no_row_and_doubles_none(
    ray_cluster, tmp_path, monkeypatch, bytes_at_once
):
    # `finsight.backtesting.sweep` is the function; the module has the same name.
    module = importlib.import_module("finsight.backtesting.sweep")
    monkeypatch.setattr(module, "_BYTES_AT_ONCE", bytes_at_once)
    here, killed = os.getpid(), tmp_path / "killed"

    def deadly(candles, window):
        # In the second block of the first task: the first one is on its way back already.
        if window == 14 and os.getpid() != here and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        up = candles.close > np.roll(candles.close, int(window))
        return up, ~up

    seen, windows = [], {"window": range(5, 85)}
    spread = sweep(WALK, deadly, windows, block_sets=5, progress=seen.append)
    assert killed.exists()
    assert seen[-1].done == spread.num_rows == 80

    monkeypatch.setattr(module, "has_ray", lambda: False)
    assert same(spread, sweep(WALK, deadly, windows, block_sets=5))


def test_folds_and_shuffles_over_ray_find_the_same(ray_cluster, monkeypatch):
    module = importlib.import_module("finsight.backtesting.side_by_side")
    done, options = [], {"costs": {"fee": 0.001}, "direction": "both"}

    def both():
        walked = walk_forward(
            WALK, "ma_cross", GRID, train=400, test=200, progress=done.append, **options
        )
        return walked, permutation_test(WALK, "ma_cross", GRID, shuffles=7, **options)

    spread, shuffled = both()
    assert done[-1].done == done[-1].total
    monkeypatch.setattr(module, "has_ray", lambda: False)
    alone, shuffled_alone = both()
    assert spread.folds.to_pandas().equals(alone.folds.to_pandas())
    assert spread.equity.equals(alone.equity)
    assert spread.trades.equals(alone.trades)
    assert shuffled == shuffled_alone
    assert len(set(shuffled.shuffled_best)) == 7


def test_what_a_piece_refuses_is_said_as_it_is_alone(ray_cluster):
    def refuses(shared, piece, threads):
        raise InvalidInput(f"{shared} {piece} is refused")

    module = importlib.import_module("finsight.backtesting.side_by_side")
    with pytest.raises(InvalidInput, match=r"^number 0 is refused$|^number 1 is refused$"):
        list(module.side_by_side(refuses, "number", [0, 1]))
