"""Jobs on a real Ray with its job server and a token, seen from outside of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from finsight.domain.job_requests import parse_job_request
from finsight.domain.training_job import JobState, TrainingJob
from finsight.services.training_jobs import TrainingJobs
from finsight.settings import Settings
from finsight.training.jobs import RUN_VARIABLE, processes_of
from finsight.wiring import open_clock, open_training_jobs
from tests.ray.job_cluster import MODULES

# Beside another Ray on the machine, Ray 2.60 now and then takes a driver's actors for given
# up before they have started.
pytestmark = [pytest.mark.timeout(180), pytest.mark.alone]


@dataclass
class JobCluster:
    """A cluster in another process, and the job store that it and we share."""

    folder: Path
    process: subprocess.Popen[str]
    jobs: TrainingJobs

    def submit(self, **options: Any) -> TrainingJob:
        return asyncio.run(self.jobs.submit(parse_job_request(options), "ann"))

    def look(self, job: TrainingJob) -> TrainingJob:
        return asyncio.run(self.jobs.one(job.id))

    def log(self, job: TrainingJob) -> str:
        return "\n".join(asyncio.run(self.jobs.log(job.id, 0, 10_000)).lines)

    def until(
        self, job: TrainingJob, holds: Callable[[TrainingJob], object], seconds: float = 60
    ) -> TrainingJob:
        deadline = time.monotonic() + seconds
        while not holds(found := self.look(job)):
            said = (self.folder / "cluster.log").read_text()[-1500:]
            assert time.monotonic() < deadline, f"{found}\n{self.log(found)}\n{said}"
            time.sleep(0.1)
        return found

    def ended(self, job: TrainingJob) -> TrainingJob:
        return self.until(job, lambda found: found.has_ended)

    def processes(self, job: TrainingJob, timeframe: str) -> list[psutil.Process]:
        """Those that the job says are its own: driver, worker, and a child of each."""
        file = self.folder / f"pids-{timeframe}.json"
        self.until(job, lambda _: file.exists())
        return [psutil.Process(pid) for pid in json.loads(file.read_text())]


def start_cluster(folder: Path) -> JobCluster:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with (folder / "cluster.log").open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.ray.job_cluster", str(folder)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    settings = Settings(data_dir=folder)
    store, clock = open_training_jobs(settings), open_clock(settings)
    jobs = TrainingJobs(store, clock, settings.training_files, MODULES)
    return JobCluster(folder, process, jobs)


def stop_cluster(cluster: JobCluster) -> None:
    if cluster.process.poll() is None:
        cluster.process.send_signal(signal.SIGINT)
    cluster.process.wait(60)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobCluster]:
    started = start_cluster(tmp_path_factory.mktemp("jobs"))
    yield started
    stop_cluster(started)


def watch_process(cluster: JobCluster) -> psutil.Process:
    [watch] = [
        process
        for process in psutil.Process(cluster.process.pid).children(recursive=True)
        if process.name().startswith("ray::RetrainingWa") or "RetrainingWatch" in _title(process)
    ]
    return watch


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_jobs_run_side_by_side_with_the_platforms_settings_and_outlive_the_watch(
    cluster: JobCluster,
) -> None:
    trained = cluster.submit(kind="train-forecaster", steps=4, promote=True)
    failed = cluster.submit(kind="tune-forecaster", trials=3)
    cluster.until(trained, lambda job: job.state is JobState.RUNNING)
    watch = watch_process(cluster)
    watch.kill()
    trained, failed = cluster.ended(trained), cluster.ended(failed)
    assert trained.state is JobState.SUCCEEDED, cluster.log(trained)
    assert (trained.model, trained.model_version, trained.attempts) == ("forecaster-1h", "7", 1)
    log = cluster.log(trained)
    assert log.count("horizon 13") == 1  # the settings of the platform, and one run
    assert (failed.state, failed.attempts) == (JobState.FAILED, 1)
    assert failed.reason == "no series has the 500 candles that training needs"
    assert f"--name={failed.id}" in cluster.log(failed)
    [promotion] = [j for j in asyncio.run(cluster.jobs.recent((), 9)) if j.id in trained.reason]
    assert promotion.request.kind == "promote"
    assert cluster.ended(promotion).state is JobState.SUCCEEDED


def test_a_cancelled_job_leaves_no_process(cluster: JobCluster) -> None:
    job = cluster.submit(kind="train-forecaster", steps=300, timeframe="4h")
    processes = cluster.processes(job, "4h")
    assert len(processes) == 4
    run_id = cluster.look(job).run_id
    assert all(one.environ()[RUN_VARIABLE] == run_id for one in processes)
    asyncio.run(cluster.jobs.cancel(job.id, "bob"))
    ended = cluster.ended(job)
    assert (ended.state, ended.reason) == (JobState.CANCELLED, "cancelled by bob")
    assert [one.pid for one in processes if one.is_running()] == []
    assert processes_of(str(run_id)) == []
    assert "step 1" in cluster.log(job)


def test_ctrl_c_stops_what_runs_and_writes_it_down(cluster: JobCluster) -> None:
    job = cluster.submit(kind="train-forecaster", steps=300, timeframe="8h")
    processes = cluster.processes(job, "8h")
    cluster.process.send_signal(signal.SIGINT)
    cluster.process.wait(60)
    ended = cluster.look(job)
    assert ended.state is JobState.CANCELLED
    assert ended.reason == "stopped with the platform; `finsight jobs retry` runs it again"
    assert [one.pid for one in processes if one.is_running()] == []


@pytest.mark.long
def test_a_cluster_that_was_killed_has_lost_its_job_and_the_next_one_tries_again(
    tmp_path: Path,
) -> None:
    first = start_cluster(tmp_path)
    try:
        job = first.submit(kind="train-forecaster", steps=300, timeframe="1d")
        processes = first.processes(job, "1d")
        own = psutil.Process(first.process.pid)
        for process in [own, *own.children(recursive=True)]:
            if process not in processes:
                process.kill()
        first.process.wait(10)
    finally:
        stop_cluster(first)
    second = start_cluster(tmp_path)
    try:
        lost = second.ended(job)
        assert lost.state is JobState.LOST
        assert "finsight jobs retry" in lost.reason
        assert [one.pid for one in processes if one.is_running()] == []
        again = asyncio.run(second.jobs.retry(job.id))
        running = second.until(again, lambda found: found.state is JobState.RUNNING)
        assert (running.attempts, running.run_id) == (2, f"{job.id}.2")
        asyncio.run(second.jobs.cancel(job.id, "bob"))
        assert second.ended(job).state is JobState.CANCELLED
    finally:
        stop_cluster(second)
