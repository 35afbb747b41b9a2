"""Jobs moved on step by step, over a real store and a stand-in for Ray's job server."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from finsight.adapters.state.sqlite_training_jobs import SqliteTrainingJobs
from finsight.domain.errors import InvalidInput, NotFound, SourceUnavailable
from finsight.domain.job_options import JobKind
from finsight.domain.job_requests import JobRequest, TrainForecaster, TrainSentiment
from finsight.domain.training_job import JobState, TrainingJob
from finsight.ports.training_jobs import Cpus, Run, RunState
from finsight.services.job_running import JobRunning
from finsight.services.training_jobs import TrainingJobs
from tests.builders import NOON
from tests.fixed_clock import FixedClock

HERE = dict.fromkeys(JobKind, "finsight.settings")


@dataclass
class StandInRunner:
    """Runs that a test moves on."""

    runs: dict[str, Run] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    free: float = 2.0
    is_down: bool = False
    refuses: str | None = None

    async def start(self, run_id: str, request: JobRequest) -> None:
        if self.is_down:
            raise SourceUnavailable("the dashboard does not answer")
        if self.refuses:
            raise InvalidInput(self.refuses)
        if run_id not in self.runs:
            self.started.append(run_id)
            self.runs[run_id] = Run(RunState.RUNNING)

    async def look(self, run_id: str) -> Run:
        return self.runs.get(run_id, Run(RunState.UNKNOWN))

    async def log(self, run_id: str) -> str:
        return self.logs.get(run_id, "")

    async def stop(self, run_id: str) -> None:
        self.runs[run_id] = Run(RunState.STOPPED)

    async def end_leftovers(self, run_id: str) -> int:
        return 0

    async def cpus(self) -> Cpus:
        return Cpus(free=self.free, all=2.0)

    def end(self, run_id: str, state: RunState, log: str = "", code: int | None = None) -> None:
        self.runs[run_id], self.logs[run_id] = Run(state, "", code), log


@dataclass
class Desk:
    """Everything a test works with."""

    jobs: TrainingJobs
    running: JobRunning
    runner: StandInRunner
    clock: FixedClock
    folder: Path

    async def submit(self, **options: object) -> TrainingJob:
        return await self.jobs.submit(TrainForecaster(**options), "ann")  # type: ignore[arg-type]

    async def state(self, job: TrainingJob) -> tuple[JobState, str]:
        found = await self.jobs.one(job.id)
        return found.state, found.reason


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    store, clock, runner = SqliteTrainingJobs(tmp_path / "j"), FixedClock(NOON), StandInRunner()
    running = JobRunning(store, runner, clock, most=1, cpus_within=timedelta(minutes=15))
    folder = tmp_path / "training-data"
    folder.mkdir()
    return Desk(TrainingJobs(store, clock, folder, HERE), running, runner, clock, folder)


async def test_a_job_runs_and_what_it_registered_is_known(desk: Desk) -> None:
    job = await desk.submit()
    await desk.running.step()
    assert (await desk.state(job))[0] is JobState.RUNNING
    log = 'step 1\n{"kind": "forecaster-1h", "version": 4, "loss": 0.5}\nbye'
    desk.runner.end(f"{job.id}.1", RunState.SUCCEEDED, log)
    await desk.running.step()
    found = await desk.jobs.one(job.id)
    assert (found.state, found.model, found.model_version) == ("succeeded", "forecaster-1h", "4")
    part = await desk.jobs.log(job.id, None, 2)
    assert (part.lines[-1], part.first, part.next, part.ended) == ("bye", 1, 3, True)
    part = await desk.jobs.log(job.id, 0, 1)
    assert (part.lines, part.next, part.ended) == (("step 1",), 1, False)


async def test_no_more_run_at_once_than_may(desk: Desk) -> None:
    first, second = await desk.submit(), await desk.submit()
    await desk.running.step()
    await desk.running.step()
    assert desk.runner.started == [f"{first.id}.1"]
    desk.runner.end(f"{first.id}.1", RunState.SUCCEEDED)
    await desk.running.step()
    assert desk.runner.started == [f"{first.id}.1", f"{second.id}.1"]


@pytest.mark.parametrize(
    ("log", "code", "said"),
    [
        ("step 1\ntraining failed: no series has 500 candles\n", 1, "no series has 500 candles"),
        ("the search failed: trials is 0; expected more than 0", 1, "trials is 0"),
        ("Traceback\nValueError: oops", 1, "ValueError: oops"),
        ("step 1", -9, "signal 9: perhaps the machine ran out of memory"),
        ("step 1", 143, "ended by signal 15"),
    ],
)
async def test_a_failure_is_said_in_one_line(desk: Desk, log: str, code: int, said: str) -> None:
    job = await desk.submit()
    await desk.running.step()
    desk.runner.end(f"{job.id}.1", RunState.FAILED, log, code)
    await desk.running.step()
    state, reason = await desk.state(job)
    assert state is JobState.FAILED
    assert said in reason


async def test_a_run_that_the_cluster_does_not_know_any_more_is_lost_and_tried_again(
    desk: Desk,
) -> None:
    job = await desk.submit()
    await desk.running.step()
    desk.runner.runs.clear()
    await desk.running.step()
    assert (await desk.state(job))[0] is JobState.LOST
    again = await desk.jobs.retry(job.id)
    assert again.state is JobState.QUEUED
    await desk.running.step()
    assert desk.runner.started == [f"{job.id}.1", f"{job.id}.2"]
    assert (await desk.jobs.one(job.id)).attempts == 2


async def test_one_that_was_taken_and_not_started_is_started_once(desk: Desk) -> None:
    job = await desk.submit()
    desk.runner.is_down = True
    with pytest.raises(SourceUnavailable):
        await desk.running.step()
    # Whoever took it is gone; another goes on, twice at the same time.
    desk.runner.is_down = False
    await asyncio.gather(desk.running.step(), desk.running.step())
    assert desk.runner.started == [f"{job.id}.1"]
    assert (await desk.state(job))[0] is JobState.RUNNING


async def test_a_job_that_waits_is_cancelled_at_once_and_one_that_runs_when_it_has_stopped(
    desk: Desk,
) -> None:
    first, second = await desk.submit(), await desk.submit()
    await desk.running.step()
    assert (await desk.jobs.cancel(second.id, "bob")).state is JobState.CANCELLED
    asked = await desk.jobs.cancel(first.id, "bob")
    assert (asked.state, asked.cancel_asked) == (JobState.RUNNING, True)
    await desk.running.step()
    await desk.running.step()
    assert await desk.state(first) == (JobState.CANCELLED, "cancelled by bob")
    with pytest.raises(InvalidInput, match=r"has ended already \(cancelled\)"):
        await desk.jobs.cancel(first.id, "bob")


async def test_one_that_succeeded_before_it_could_be_stopped_has_succeeded(desk: Desk) -> None:
    job = await desk.submit()
    await desk.running.step()
    await desk.jobs.cancel(job.id, "bob")
    desk.runner.end(f"{job.id}.1", RunState.SUCCEEDED)
    await desk.running.step()
    assert (await desk.state(job))[0] is JobState.SUCCEEDED


async def test_only_what_failed_was_cancelled_or_lost_is_tried_again(desk: Desk) -> None:
    job = await desk.submit()
    with pytest.raises(InvalidInput, match="is queued: it can be tried again once it has ended"):
        await desk.jobs.retry(job.id)
    await desk.running.step()
    with pytest.raises(InvalidInput, match="is running"):
        await desk.jobs.retry(job.id)
    desk.runner.end(f"{job.id}.1", RunState.SUCCEEDED)
    await desk.running.step()
    with pytest.raises(InvalidInput, match="succeeded; to do the same again, submit another"):
        await desk.jobs.retry(job.id)
    with pytest.raises(NotFound):
        await desk.jobs.retry("job-nowhere")


async def test_promotion_is_asked_for_once_after_a_success(desk: Desk) -> None:
    job = await desk.submit(promote=True)
    await desk.running.step()
    log = '{"kind": "forecaster-1h", "version": "4"}'
    desk.runner.end(f"{job.id}.1", RunState.SUCCEEDED, log)
    # Two look at the same time.
    await asyncio.gather(desk.running.step(), desk.running.step())
    others = [one for one in await desk.jobs.recent((), 10) if one.id != job.id]
    assert [one.request.kind for one in others] == [JobKind.PROMOTE]
    assert others[0].request.arguments("")[:2] == ["--model=forecaster-1h", "--version=4"]
    assert others[0].id in (await desk.state(job))[1]


async def test_a_job_waits_for_cpus_in_words_and_not_for_ever(desk: Desk) -> None:
    job = await desk.submit()
    desk.runner.free = 0.6
    await desk.running.step()
    assert await desk.state(job) == (
        JobState.QUEUED,
        "waits for 1 CPU; 0.6 CPUs of 2 CPUs are free",
    )
    desk.clock.moment += timedelta(minutes=16)
    await desk.running.step()
    state, reason = await desk.state(job)
    assert state is JobState.FAILED
    assert reason.startswith("it waited 15 minutes for 1 CPU; 0.6 CPUs of 2 CPUs are free")


async def test_more_cpus_than_there_are_is_refused_at_once(desk: Desk) -> None:
    (desk.folder / "a.csv").write_text("x")
    job = await desk.jobs.submit(TrainSentiment(files=("a.csv",), workers=3), "ann")
    await desk.running.step()
    state, reason = await desk.state(job)
    assert state is JobState.FAILED
    assert "needs 3 CPUs at once and the cluster has 2 CPUs in all: ask for fewer" in reason


async def test_files_must_be_there_and_below_the_folder(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("x")
    (desk.folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(InvalidInput, match="leads out of"):
        await desk.jobs.submit(TrainSentiment(files=("link.csv",)), "ann")
    with pytest.raises(NotFound, match=r"no file news\.csv in .*training-data; put it there"):
        await desk.jobs.submit(TrainSentiment(files=("news.csv",)), "ann")


async def test_a_kind_whose_command_is_missing_is_refused(desk: Desk) -> None:
    jobs = TrainingJobs(
        SqliteTrainingJobs(desk.folder / "j"),
        desk.clock,
        desk.folder,
        {JobKind.TRAIN_FORECASTER: "finsight.training.no_such_command"},
    )
    with pytest.raises(InvalidInput, match=r"can't run 'train-forecaster'.*no_such_command"):
        await jobs.submit(TrainForecaster(), "ann")


async def test_stopping_all_stops_what_runs_and_leaves_what_waits(desk: Desk) -> None:
    first, second = await desk.submit(), await desk.submit()
    await desk.running.step()
    assert await desk.running.stop_all("stopped with the platform", within_s=5) == 1
    assert await desk.state(first) == (JobState.CANCELLED, "stopped with the platform")
    assert (await desk.state(second))[0] is JobState.QUEUED
