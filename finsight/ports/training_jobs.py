"""What FinSight needs of whatever keeps training jobs, and of whatever runs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from finsight.domain.job_requests import JobRequest
from finsight.domain.training_job import JobState, TrainingJob


class TrainingJobStore(Protocol):
    """Keeps jobs and their logs over restarts, for many processes. All raise `StoreUnavailable`.

    A job is changed by `replace` alone, which does nothing when another process was faster.
    """

    async def add(self, job: TrainingJob) -> TrainingJob:
        """Store a new job; where there is one with the same `key`, return that one instead."""
        ...

    async def get(self, job_id: str) -> TrainingJob:
        """Raises: NotFound (suggests the nearest id)."""
        ...

    async def recent(self, states: Sequence[JobState] = (), limit: int = 100) -> list[TrainingJob]:
        """Return jobs in these states, in any when there are none, newest first."""
        ...

    async def take_next(self, most: int) -> TrainingJob | None:
        """Take the queued job that has waited longest, unless `most` are taken or run already."""
        ...

    async def replace(self, before: TrainingJob, after: TrainingJob) -> bool:
        """Put `after` in the place of `before`; False when it isn't `before` any more."""
        ...

    async def newest_with_key(self, prefix: str) -> TrainingJob | None:
        """Return the job submitted last whose key begins with `prefix`."""
        ...

    async def save_log(self, job_id: str, log: str) -> None:
        """Keep the log of the newest attempt, in place of what was kept."""
        ...

    async def log(self, job_id: str) -> str:
        """Return the kept log, empty when there is none. Raises: NotFound."""
        ...

    async def first_seen(self, name: str, now: datetime) -> datetime:
        """Return when `name` (a rule) was first asked about: `now`, the first time."""
        ...


class RunState(StrEnum):
    """What a runner says of one run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Run:
    """One attempt, as its runner sees it; `message` is the runner's own word on a failure."""

    state: RunState
    message: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class Cpus:
    """Logical CPUs of the place where jobs run."""

    free: float
    all: float


class JobRunner(Protocol):
    """Runs jobs as processes of their own. All methods raise `SourceUnavailable`."""

    async def start(self, run_id: str, request: JobRequest) -> None:
        """Start a run; one that is there already is left alone."""
        ...

    async def look(self, run_id: str) -> Run:
        """Say how a run is; `UNKNOWN` when there is no such run (any more)."""
        ...

    async def log(self, run_id: str) -> str:
        """Return everything the run has printed so far."""
        ...

    async def stop(self, run_id: str) -> None:
        """Begin to stop a run; harmless when it has ended or never was."""
        ...

    async def end_leftovers(self, run_id: str) -> int:
        """Once a run has ended: wait for its processes to go, then kill; say how many."""
        ...

    async def cpus(self) -> Cpus: ...
