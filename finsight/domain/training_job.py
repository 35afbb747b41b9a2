"""A training, search, evaluation or promotion that runs by itself, and what became of it."""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.job_requests import JobRequest
from finsight.domain.timeframe import UtcDatetime


class JobState(StrEnum):
    """Where a job is.

    `lost`: it ran, and then the cluster that ran it was gone; it can be tried again.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


_LAST_WORDS = re.compile(r"(?:the |a )?[a-z]+ failed: (.+)")
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST)


class TrainingJob(BaseModel):
    """One job over all its attempts.

    `run_id` names the attempt under way, or the last one; a queued job that has one has
    been taken and is being started. `model` and `model_version` are what it registered,
    `reason` says in one line why it waits or how it ended. `key` is the occasion it was
    submitted for: there is never a second job with the same.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    request: JobRequest
    by: str = Field(description="who asked for it: a person, or a part of the platform")
    state: JobState = JobState.QUEUED
    reason: str = ""
    attempts: int = Field(default=0, ge=0, description="how often it was started")
    submitted_at: UtcDatetime
    started_at: UtcDatetime | None = None
    ended_at: UtcDatetime | None = None
    cancel_asked: bool = Field(default=False, description="it is being stopped")
    run_id: str | None = Field(default=None, description="Ray's submission id")
    model: str | None = Field(default=None, examples=["forecaster-1h"])
    model_version: str | None = None
    key: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    def taken(self) -> TrainingJob:
        """The same, taken for its next attempt."""
        attempts = self.attempts + 1
        return self.model_copy(
            update={"attempts": attempts, "run_id": f"{self.id}.{attempts}", "reason": ""}
        )

    def ended(self, state: JobState, reason: str, at: datetime) -> TrainingJob:
        return self.model_copy(
            update={"state": state, "reason": reason, "ended_at": at, "cancel_asked": False}
        )

    def queued_again(self, at: datetime) -> TrainingJob:
        """The same, to be tried once more; what the last attempt ended with is gone."""
        return self.model_copy(
            update={
                "state": JobState.QUEUED,
                "reason": "",
                "submitted_at": at,
                "started_at": None,
                "ended_at": None,
                "cancel_asked": False,
                "run_id": None,
                "model": None,
                "model_version": None,
            }
        )


def new_job_id() -> str:
    return f"job-{uuid.uuid4().hex[:10]}"


class Registered(NamedTuple):
    """A model version that a job registered."""

    model: str
    version: str


def registered_in(log: str) -> Registered | None:
    """Return what the last line of JSON that names a kind and a version says, or None."""
    for line in reversed(log.splitlines()):
        line = line.strip()
        if not (line.startswith("{") and line.endswith("}")):
            continue
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said.get("kind"), str) and "version" in said:
            return Registered(said["kind"], str(said["version"]))
    return None


def failure_in(log: str, exit_code: int | None) -> str:
    """Say in one line why a run failed: its own last words, unless it had no time for any."""
    if exit_code is not None and (exit_code < 0 or exit_code > 128):
        signal = -exit_code if exit_code < 0 else exit_code - 128
        hint = ": perhaps the machine ran out of memory" if signal == 9 else ""
        return f"its process was ended by signal {signal}{hint}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        said = _LAST_WORDS.match(line)
        if said is not None:
            return said[1]
    return lines[-1][:500] if lines else f"it ended with exit code {exit_code}"
