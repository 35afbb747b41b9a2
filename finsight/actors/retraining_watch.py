"""The one place where jobs are started, watched and stopped, and where rules start them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any

from ray.util.metrics import Gauge

from finsight import wiring
from finsight.domain.drift import DriftReport
from finsight.domain.errors import FinSightError, StoreUnavailable
from finsight.domain.health import PartHealth, PartState
from finsight.domain.job_options import JobKind
from finsight.domain.training_job import JobState, TrainingJob
from finsight.services.drift_watch import DriftWatch, Windows
from finsight.services.job_running import JobRunning
from finsight.services.retraining import Retraining
from finsight.services.training_jobs import MODULES, TrainingJobs
from finsight.settings import Settings
from finsight.training.jobs import RayJobRunner

RETRAINING_WATCH = "retraining-watch"
_STEP_S = 1.0
_RULES_S = 5.0
_STOP_WITHIN_S = 8.0
_FIRST_DRIFT_AFTER_S = 60.0
"""Opening the registry takes seconds of CPU, which a start has better use for."""
_Work = Callable[[], Coroutine[Any, Any, None]]


class RetrainingWatch:
    """Carries out what the job store says, measures drift, and looks after the rules.

    It holds nothing that isn't in the store: killed at any time, it goes on from there.
    """

    ON_HEAD = True
    """There Ray runs the drivers of jobs, and there its dashboard may listen on loopback."""

    def __init__(self, settings: Settings, modules: Mapping[JobKind, str] = MODULES) -> None:
        self._settings = settings
        clock = wiring.open_clock(settings)
        self._store = wiring.open_training_jobs(settings)
        self._running = JobRunning(
            self._store,
            RayJobRunner(settings, modules),
            clock,
            settings.training.max_running,
            timedelta(seconds=settings.training.cpus_within_s),
        )
        self._retraining = Retraining(
            settings.retraining,
            TrainingJobs(self._store, clock, settings.training_files, modules),
            self._store,
            clock,
        )
        self._drift = DriftWatch(
            wiring.open_candle_store(settings),
            wiring.open_article_store(settings),
            wiring.open_forecast_store(settings),
            wiring.open_model_registry(settings),
            clock,
            Windows(settings.drift.window_candles, timedelta(days=settings.drift.window_days)),
        )
        self._reports: dict[str, DriftReport] = {}
        self._under_way: list[TrainingJob] = []
        self._problems: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended = False
        self._psi = Gauge(
            "finsight_drift_psi",
            "Population stability index of a feature, the largest of all series.",
            ("model", "feature"),
        )
        self._error_rise = Gauge(
            "finsight_drift_error_rise",
            "By how much a model's MASE minus the naive one's rose lately.",
            ("model",),
        )
        self._jobs_now = Gauge("finsight_training_jobs", "Jobs in a state.", ("state",))

    async def ensure_running(self) -> list[PartHealth]:
        """Start the tasks that aren't running; say how the watch is."""
        if not self._ended:
            self._keep("jobs", self._step, _STEP_S)
            self._keep("rules", self._look_at_rules, _RULES_S)
            every_s = self._settings.drift.look_every_s
            self._keep("drift", self._measure_drift, every_s, min(_FIRST_DRIFT_AFTER_S, every_s))
        return [self._health()]

    async def stop(self) -> int:
        """Stop every job under way, because the platform stops; say how many there were.

        Raises: SourceUnavailable, StoreUnavailable.
        """
        self._ended = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        reason = "stopped with the platform; `finsight jobs retry` runs it again"
        return await self._running.stop_all(reason, _STOP_WITHIN_S)

    def _keep(self, name: str, work: _Work, every_s: float, first_after_s: float = 0.0) -> None:
        if name not in self._tasks or self._tasks[name].done():
            repeated = self._again_and_again(name, work, every_s, first_after_s)
            self._tasks[name] = asyncio.create_task(repeated)

    async def _again_and_again(
        self, name: str, work: _Work, every_s: float, first_after_s: float
    ) -> None:
        await asyncio.sleep(first_after_s)
        pause_s = every_s
        while True:
            try:
                await work()
                self._problems.pop(name, None)
                pause_s = every_s
            except FinSightError as exc:
                self._problems[name] = str(exc)
                pause_s = min(max(2 * pause_s, every_s), max(30.0, every_s))
            await asyncio.sleep(pause_s * random.uniform(0.9, 1.1))

    def _health(self) -> PartHealth:
        """Late while it can't do its work: everything else is served all the same."""
        jobs = [f"{job.request.kind} {job.id}" for job in self._under_way]
        problems = list(self._problems.values())
        return PartHealth(
            part=RETRAINING_WATCH,
            state=PartState.LATE if problems else PartState.OK,
            detail="; ".join([*problems, *(f"running {job}" for job in jobs)]),
        )

    async def _step(self) -> None:
        if not self._under_way and not await self._store.recent(
            (JobState.QUEUED, JobState.RUNNING), 1
        ):
            # Nothing to do needs no cluster: without Ray's dashboard all is well so far.
            return
        self._under_way = await self._running.step()
        waiting = await self._store.recent((JobState.QUEUED,), 1000)
        self._jobs_now.set(len(waiting), {"state": "queued"})
        self._jobs_now.set(len(self._under_way), {"state": "running"})

    async def _look_at_rules(self) -> None:
        statuses = await self._retraining.look(self._reports)
        problems = [status.problem for status in statuses if status.problem]
        if problems:
            raise StoreUnavailable("; ".join(problems))

    async def _measure_drift(self) -> None:
        for report in await self._drift.reports():
            self._reports[report.model] = report
            worst: dict[str, float] = {}
            for feature in report.features:
                worst[feature.feature] = max(worst.get(feature.feature, 0.0), feature.psi)
            for name, psi in worst.items():
                self._psi.set(psi, {"model": report.model, "feature": name})
            if report.errors is not None:
                rise = report.errors.lately - report.errors.before
                self._error_rise.set(rise, {"model": report.model})
