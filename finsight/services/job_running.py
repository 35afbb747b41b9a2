"""Carries out what the job store says: starts, watches and stops runs."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from finsight.domain.errors import FinSightError, InvalidInput, SourceUnavailable
from finsight.domain.job_requests import cpus_in_words, promotion_after
from finsight.domain.training_job import (
    JobState,
    TrainingJob,
    failure_in,
    new_job_id,
    registered_in,
)
from finsight.ports.clock import Clock
from finsight.ports.training_jobs import JobRunner, Run, RunState, TrainingJobStore

_log = logging.getLogger(__name__)
_LOOK_AGAIN_S = 0.5
_MOST_AT_ONCE = 100


class JobRunning:
    """Moves jobs on, a step at a time; may be killed between any two instructions.

    A run's id is written down before the run is started, and starting it twice is
    harmless: whoever goes on with the store finds every run again. Two that do so at
    the same time start no run twice and never more than `most`.
    """

    def __init__(
        self,
        store: TrainingJobStore,
        runner: JobRunner,
        clock: Clock,
        most: int,
        cpus_within: timedelta,
    ) -> None:
        self._store = store
        self._runner = runner
        self._clock = clock
        self._most = most
        self._cpus_within = cpus_within
        self._starved_since: dict[str, datetime] = {}
        self._kept_logs: dict[str, int] = {}

    async def step(self) -> list[TrainingJob]:
        """Look at every job under way, and start what may start; return those under way.

        Raises: SourceUnavailable (the cluster's job server), StoreUnavailable.
        """
        under_way = await self._under_way()
        outcomes = await asyncio.gather(*map(self._move, under_way), return_exceptions=True)
        while (job := await self._may_start()) is not None:
            await self._start(job)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return await self._under_way()

    async def stop_all(self, reason: str, within_s: float) -> int:
        """Stop every run under way, and say how many. Queued jobs stay queued.

        Raises: SourceUnavailable, StoreUnavailable.
        """
        for job in await self._under_way():
            asked = job.model_copy(update={"cancel_asked": True, "reason": reason})
            await self._store.replace(job, asked)
        stopping = await self._under_way()
        deadline = asyncio.get_running_loop().time() + within_s
        left = stopping
        while left and asyncio.get_running_loop().time() < deadline:
            await asyncio.gather(*map(self._move, left))
            left = await self._under_way()
            await asyncio.sleep(_LOOK_AGAIN_S if left else 0)
        return len(stopping)

    async def _under_way(self) -> list[TrainingJob]:
        found = await self._store.recent((JobState.QUEUED, JobState.RUNNING), 10_000)
        return [job for job in found if job.run_id is not None]

    async def _move(self, job: TrainingJob) -> None:
        """Bring one job up to what its run says."""
        assert job.run_id is not None
        if job.state is JobState.QUEUED and not job.cancel_asked:
            # Taken by somebody who did not get to the end of starting it.
            await self._start(job)
            return
        run = await self._runner.look(job.run_id)
        await self._keep_log(job, run)
        if run.state in (RunState.PENDING, RunState.RUNNING):
            if job.cancel_asked:
                await self._runner.stop(job.run_id)
            return
        await self._end(job, run)

    async def _keep_log(self, job: TrainingJob, run: Run) -> None:
        assert job.run_id is not None
        if run.state in (RunState.PENDING, RunState.UNKNOWN):
            return
        log = await self._runner.log(job.run_id)
        if self._kept_logs.get(job.run_id) != len(log):
            await self._store.save_log(job.id, log)
            self._kept_logs[job.run_id] = len(log)

    async def _end(self, job: TrainingJob, run: Run) -> None:
        """Write down how a run ended, once nothing of it is left."""
        assert job.run_id is not None
        killed = await self._runner.end_leftovers(job.run_id)
        if killed:
            _log.warning("%d processes of %s were left over and are ended", killed, job.run_id)
        log = "" if run.state is RunState.UNKNOWN else await self._store.log(job.id)
        now = self._clock.now()
        if job.cancel_asked and run.state is not RunState.SUCCEEDED:
            after = job.ended(JobState.CANCELLED, job.reason, now)
        elif run.state is RunState.UNKNOWN:
            reason = "the cluster that ran it is gone; `finsight jobs retry` runs it again"
            after = job.ended(JobState.LOST, reason, now)
        elif run.state is RunState.STOPPED:
            after = job.ended(JobState.CANCELLED, "it was stopped by Ray's own means", now)
        elif run.state is RunState.FAILED:
            said = run.message if not log.strip() and run.message else ""
            after = job.ended(JobState.FAILED, said or failure_in(log, run.exit_code), now)
        else:
            after = await self._succeeded(job, log, now)
        self._kept_logs.pop(job.run_id, None)
        await self._store.replace(job, after)

    async def _succeeded(self, job: TrainingJob, log: str, now: datetime) -> TrainingJob:
        registered = registered_in(log)
        reason = f"registered {registered.model} {registered.version}" if registered else ""
        asked = None
        if registered is not None:
            asked = promotion_after(job.request, registered.model, registered.version)
        if asked is not None:
            asking = TrainingJob(
                id=new_job_id(),
                request=asked,
                by=job.by,
                submitted_at=now,
                key=f"promote/{job.run_id}",
            )
            # Before the job is marked as ended: whoever dies in between does it again.
            promotion = await self._store.add(asking)
            reason += f"; {promotion.id} asks for its promotion"
        ended = job.ended(JobState.SUCCEEDED, reason, now)
        if registered is None:
            return ended
        named = {"model": registered.model, "model_version": registered.version}
        return ended.model_copy(update=named)

    async def _may_start(self) -> TrainingJob | None:
        """Take the next queued job, if there is room for it and the CPUs it needs are free."""
        waiting = await self._store.recent((JobState.QUEUED,), 10_000)
        oldest = next((job for job in reversed(waiting) if job.run_id is None), None)
        if oldest is None or len(await self._under_way()) >= self._most:
            return None
        problem = await self._want_of_cpus(oldest)
        if problem is None:
            self._starved_since.pop(oldest.id, None)
            return await self._store.take_next(self._most)
        if isinstance(problem, InvalidInput):
            now = self._clock.now()
            await self._store.replace(oldest, oldest.ended(JobState.FAILED, str(problem), now))
        elif oldest.reason != problem:
            await self._store.replace(oldest, oldest.model_copy(update={"reason": problem}))
        return None

    async def _want_of_cpus(self, job: TrainingJob) -> str | InvalidInput | None:
        """Say what it waits for; InvalidInput when waiting is of no use."""
        cpus, needed = await self._runner.cpus(), job.request.cpus_needed
        if needed > cpus.all:
            return InvalidInput(
                f"it needs {cpus_in_words(needed)} at once and the cluster has "
                f"{cpus_in_words(cpus.all)} in all: ask for fewer workers"
            )
        if needed <= cpus.free + 1e-6:
            return None
        now = self._clock.now()
        since = self._starved_since.setdefault(job.id, now)
        wants = (
            f"{cpus_in_words(needed)}; {cpus_in_words(cpus.free)} of "
            f"{cpus_in_words(cpus.all)} are free"
        )
        if now - since < self._cpus_within:
            return f"waits for {wants}"
        minutes = self._cpus_within.total_seconds() / 60
        return InvalidInput(
            f"it waited {minutes:.0f} minutes for {wants}: ask for fewer workers, or let the "
            "platform's deployments take less"
        )

    async def _start(self, job: TrainingJob) -> None:
        assert job.run_id is not None
        try:
            await self._runner.start(job.run_id, job.request)
        except SourceUnavailable:
            # It stays taken, and the next step tries again.
            raise
        except FinSightError as exc:
            await self._store.replace(job, job.ended(JobState.FAILED, str(exc), self._clock.now()))
            return
        running = {"state": JobState.RUNNING, "started_at": self._clock.now()}
        await self._store.replace(job, job.model_copy(update=running))
