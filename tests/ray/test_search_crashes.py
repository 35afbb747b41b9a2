"""A search whose driver is killed, and then a trial of it: nothing is done twice, nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from finsight.domain.forecaster_search import TrialState
from finsight.domain.promotion import CHALLENGER
from finsight.settings import Settings
from finsight.training.search_ledger import SearchLedger
from finsight.wiring import open_model_registry
from tests.ray.searching import SHAPE, STEPS, store_a_walk
from tests.ray.test_tune_forecaster import runs_of

ROOT = Path(__file__).parents[2]
TRIALS = 6
LIMIT_S = 240.0


def start(folder: Path, *resume: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ray.searching", str(folder), str(TRIALS), *resume],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def wait_for(what: Callable[[], Any], driver: subprocess.Popen[bytes]) -> Any:
    """Return the first true answer of `what`, while the driver lives."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        assert driver.poll() is None, "the search ended before anything could be killed"
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("nothing came of it in time")


def family_of(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(driver.pid).children(recursive=True)


def kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def trial_worker(driver: subprocess.Popen[bytes]) -> psutil.Process | None:
    """The process of a trial that learns."""
    for process in family_of(driver):
        try:
            if "ImplicitFunc" in " ".join(process.cmdline()):
                return process
        except psutil.NoSuchProcess:
            continue
    return None


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_killed_driver_and_a_killed_trial_cost_nothing_that_was_done(
    tmp_path: Path,
) -> None:
    settings = Settings(data_dir=tmp_path, forecasting=SHAPE)
    await store_a_walk(settings)
    searches = tmp_path / "searches"
    trials = searches / "shared" / "trials"

    def states() -> list[str]:
        return [json.loads(path.read_text())["state"] for path in sorted(trials.glob("*.json"))]

    def in_the_middle() -> bool:
        found = states()
        return sum(state != "open" for state in found) >= 2 and "open" in found

    driver = start(tmp_path)
    started: list[psutil.Process] = []
    try:
        wait_for(in_the_middle, driver)
        started = family_of(driver)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        # Its trials end with it: they must not go on beside those of the next session.
        _, left = psutil.wait_procs(started, timeout=60)
        assert [process for process in left if "ImplicitFunc" in " ".join(process.cmdline())] == []
    finally:
        kill_all(started)
    before = SearchLedger.reopen(searches, "shared").records
    ended = {r.number: r for r in before if r.state is not TrialState.OPEN}
    assert 2 <= len(ended) < TRIALS

    driver = start(tmp_path, "--resume", "shared")
    try:
        wait_for(lambda: len(states()) > len(before) or states().count("open") < 2, driver)
        victim = wait_for(lambda: trial_worker(driver), driver)
        started = family_of(driver)
        victim.kill()
        assert driver.wait(LIMIT_S) == 0
    finally:
        driver.kill()
        kill_all(started)
    records = SearchLedger.reopen(searches, "shared").records
    assert [record.number for record in records] == list(range(1, TRIALS + 1))
    assert {r.number: r for r in records if r.number in ended} == ended
    assert {record.state for record in records} <= {TrialState.FINISHED, TrialState.STOPPED}
    for record in records:
        lines = (searches / "shared" / "states" / f"{record.number:04d}" / "steps.txt").read_text()
        taken = [int(line) for line in lines.split()]
        assert taken == list(range(1, len(taken) + 1)), f"trial {record.number} repeated steps"
        if record.state is TrialState.FINISHED:
            assert len(taken) == STEPS
    runs = runs_of(settings)
    assert (len(runs["parents"]), len(runs["children"])) == (1, TRIALS)
    holder = open_model_registry(settings).holder("forecaster-1h", CHALLENGER)
    assert holder is not None
    assert holder.tags["search"] == "shared"
    assert len(open_model_registry(settings).versions("forecaster-1h")) == 1
