"""Training jobs as a person meets them: submitted, listed, read, cancelled, tried again."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finsight.domain.errors import InvalidInput, NotFound, StoreUnavailable
from finsight.domain.job_options import JobKind
from finsight.domain.job_requests import JobRequest
from finsight.domain.training_job import JobState, TrainingJob, new_job_id
from finsight.ports.clock import Clock
from finsight.ports.training_jobs import TrainingJobStore

MODULES: Mapping[JobKind, str] = {
    JobKind.TRAIN_SENTIMENT: "finsight.training.train_sentiment",
    JobKind.TRAIN_FORECASTER: "finsight.training.train_forecaster",
    JobKind.TUNE_FORECASTER: "finsight.training.tune_forecaster",
    JobKind.EVALUATE_SENTIMENT: "finsight.training.evaluate_sentiment",
    JobKind.EVALUATE_FORECASTER: "finsight.training.evaluate_forecaster",
    JobKind.PROMOTE: "finsight.training.promote",
    JobKind.BACKTEST: "finsight.commands.backtest_job",
}
"""The commands that the jobs run."""

MOST_WAITING = 200
_TRIES = 20


@dataclass(frozen=True)
class LogPart:
    """Lines of a log, from number `first` on; `next` is the one to go on with."""

    lines: tuple[str, ...]
    first: int
    next: int
    ended: bool


class TrainingJobs:
    """Writes down what is wanted; `services/job_running.py` does it, in one place.

    So nothing here needs the cluster: a job is accepted, cancelled and read while the
    part that runs jobs is being restarted.
    """

    def __init__(
        self,
        store: TrainingJobStore,
        clock: Clock,
        files_folder: Path,
        modules: Mapping[JobKind, str] = MODULES,
    ) -> None:
        self._store = store
        self._clock = clock
        self._files_folder = files_folder
        self._modules = modules

    async def submit(self, request: JobRequest, by: str, key: str | None = None) -> TrainingJob:
        """Queue a job and return it; with a `key` that was used before, the job of then.

        Raises:
            InvalidInput: a file isn't there, this kind can't be run, or too many jobs wait.
            StoreUnavailable
        """
        self._check(request)
        waiting = await self._store.recent((JobState.QUEUED,), MOST_WAITING)
        if len(waiting) >= MOST_WAITING:
            raise InvalidInput(f"{MOST_WAITING} jobs wait already: cancel some, or let them run")
        job = TrainingJob(
            id=new_job_id(), request=request, by=by, submitted_at=self._clock.now(), key=key
        )
        return await self._store.add(job)

    async def one(self, job_id: str) -> TrainingJob:
        """Raises: NotFound, StoreUnavailable."""
        return await self._store.get(job_id)

    async def recent(self, states: Sequence[JobState], limit: int) -> list[TrainingJob]:
        """Return jobs, newest first. Raises: StoreUnavailable."""
        return await self._store.recent(states, limit)

    async def log(self, job_id: str, after: int | None, most: int) -> LogPart:
        """Return up to `most` lines of a job's log: from line `after` on, else the last.

        Raises: NotFound, StoreUnavailable.
        """
        # In this order: a job that has ended has its whole log.
        job = await self._store.get(job_id)
        lines = (await self._store.log(job_id)).splitlines()
        first = min(max(0, len(lines) - most) if after is None else after, len(lines))
        part = lines[first : first + most]
        end = first + len(part)
        return LogPart(tuple(part), first, end, job.has_ended and end == len(lines))

    async def cancel(self, job_id: str, by: str) -> TrainingJob:
        """Cancel one that waits; ask one that runs to stop.

        Raises: InvalidInput (it has ended), NotFound, StoreUnavailable.
        """
        for _ in range(_TRIES):
            job = await self._store.get(job_id)
            if job.has_ended:
                raise InvalidInput(
                    f"{job_id} has ended already ({job.state}); there is nothing to cancel"
                )
            reason = f"cancelled by {by}"
            if job.run_id is None:
                after = job.ended(JobState.CANCELLED, reason, self._clock.now())
            else:
                after = job.model_copy(update={"cancel_asked": True, "reason": reason})
            if await self._store.replace(job, after):
                return after
        raise StoreUnavailable(f"{job_id} changes too fast; try again")

    async def retry(self, job_id: str) -> TrainingJob:
        """Queue a job that failed, was cancelled or was lost once more.

        Raises: InvalidInput (it waits, runs or succeeded, or can't be run), NotFound,
            StoreUnavailable.
        """
        job = await self._store.get(job_id)
        if not job.has_ended:
            raise InvalidInput(f"{job_id} is {job.state}: it can be tried again once it has ended")
        if job.state is JobState.SUCCEEDED:
            raise InvalidInput(f"{job_id} succeeded; to do the same again, submit another")
        self._check(job.request)
        again = job.queued_again(self._clock.now())
        if not await self._store.replace(job, again):
            raise InvalidInput(f"{job_id} was tried again by somebody else just now")
        return again

    def _check(self, request: JobRequest) -> None:
        """Raises: InvalidInput, NotFound."""
        module = self._modules[request.kind]
        if importlib.util.find_spec(module) is None:
            raise InvalidInput(
                f"this FinSight can't run '{request.kind}': it comes without {module}"
            )
        folder = self._files_folder.resolve()
        for name in request.file_names:
            path = (folder / name).resolve()
            if not path.is_relative_to(folder):
                raise InvalidInput(f"{name} leads out of {folder}: jobs read files below it alone")
            if not path.is_file():
                raise NotFound(f"there is no file {name} in {folder}; put it there first")
