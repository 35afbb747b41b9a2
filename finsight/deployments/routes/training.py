"""Training jobs, drift, and the rules that train a model again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel, Field, RootModel

from finsight.deployments.http_ports import Ports
from finsight.domain.drift import DriftReport
from finsight.domain.job_requests import JobRequest
from finsight.domain.retraining import RetrainingRule
from finsight.domain.training_job import JobState, TrainingJob

router = APIRouter(prefix="/training", tags=["training"])

JobId = Annotated[str, Path(pattern=r"^[\w.-]{1,60}$", description="the job's id")]
By = Annotated[
    str,
    Query(
        pattern=r"^[\w][\w .@-]{0,80}$",
        description="who asks; kept with the job",
        examples=["ann"],
    ),
]
_EXAMPLES: dict[str, Any] = {
    "a forecaster": {"value": {"kind": "train-forecaster", "timeframe": "1h", "promote": True}},
    "sentiment": {"value": {"kind": "train-sentiment", "files": ["news.csv"], "lora": True}},
}


class JobBody(RootModel[JobRequest]):
    """A kind of job and its options."""


class JobList(BaseModel):
    jobs: list[TrainingJob]


class LogAnswer(BaseModel):
    """Lines of a job's log. `next` is the line to go on `after`; `ended`: no more will come."""

    lines: list[str]
    first: int
    next: int
    ended: bool


class DriftAnswer(BaseModel):
    """One report for each model that serves."""

    reports: list[DriftReport]


class RuleAnswer(BaseModel):
    """A rule of the settings, the last job it began, and when it is due by the clock."""

    rule: RetrainingRule
    last_job: TrainingJob | None = Field(default=None)
    due_at: datetime | None = None


class RuleList(BaseModel):
    rules: list[RuleAnswer]


@router.post("", status_code=202)
async def submit_job(
    ports: Ports,
    body: Annotated[JobBody, Body(openapi_examples=_EXAMPLES)],
    by: By = "api",
) -> TrainingJob:
    """Queue a training, search, evaluation or promotion. It runs as a Ray job.

    `kind` says which, the rest are its options. Files are named below the data folder's
    `training-data/`, and are read from there alone.
    """
    return await ports.jobs.submit(body.root, by)


@router.get("")
async def list_jobs(
    ports: Ports,
    state: Annotated[
        list[JobState] | None, Query(description="only these; all when left out")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> JobList:
    """Jobs, newest first, with what became of them."""
    return JobList(jobs=await ports.jobs.recent(tuple(state or ()), limit))


@router.get("/drift")
async def show_drift(ports: Ports) -> DriftAnswer:
    """How far what the models see, and how wrong they are, is from what they learnt from."""
    return DriftAnswer(reports=await ports.drift.get().reports())


@router.get("/rules")
async def list_rules(ports: Ports) -> RuleList:
    """The rules that train a model again, the last job of each, and when it is due."""
    statuses = await ports.retraining.status()
    return RuleList(
        rules=[RuleAnswer(rule=s.rule, last_job=s.last, due_at=s.due_at) for s in statuses]
    )


@router.get("/{job_id}")
async def one_job(ports: Ports, job_id: JobId) -> TrainingJob:
    """One job: its state, its reason, the model it registered."""
    return await ports.jobs.one(job_id)


@router.get("/{job_id}/logs")
async def job_log(
    ports: Ports,
    job_id: JobId,
    tail: Annotated[int, Query(ge=1, le=10_000, description="so many lines at most")] = 200,
    after: Annotated[
        int | None, Query(ge=0, description="from this line on; left out: the last ones")
    ] = None,
) -> LogAnswer:
    """What a job has printed; ask again with `after` set to `next` to follow it."""
    part = await ports.jobs.log(job_id, after, tail)
    return LogAnswer(lines=list(part.lines), first=part.first, next=part.next, ended=part.ended)


@router.post("/{job_id}/cancel", status_code=202)
async def cancel_job(ports: Ports, job_id: JobId, by: By = "api") -> TrainingJob:
    """Cancel a job that waits; ask one that runs to stop. Nothing of it is left running."""
    return await ports.jobs.cancel(job_id, by)


@router.post("/{job_id}/retry", status_code=202)
async def retry_job(ports: Ports, job_id: JobId) -> TrainingJob:
    """Queue a job that failed, was cancelled or was lost once more."""
    return await ports.jobs.retry(job_id)
