"""What the routes of training reach, opened together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from finsight.deployments.http_ports import Late
from finsight.ports.clock import Clock
from finsight.services.drift_watch import DriftWatch, Windows
from finsight.services.retraining import Retraining
from finsight.services.training_jobs import TrainingJobs
from finsight.settings import Settings
from finsight.wiring import (
    open_article_store,
    open_candle_store,
    open_clock,
    open_forecast_store,
    open_model_registry,
    open_training_jobs,
)


@dataclass(frozen=True)
class Training:
    """Jobs are written down and read here; the retraining watch carries them out."""

    jobs: TrainingJobs
    drift: Late[DriftWatch]
    retraining: Retraining


def open_training(settings: Settings, clock: Clock | None = None) -> Training:
    clock = clock or open_clock(settings)
    store = open_training_jobs(settings)
    jobs = TrainingJobs(store, clock, settings.training_files)
    watched = settings.drift

    def open_drift() -> DriftWatch:
        return DriftWatch(
            open_candle_store(settings),
            open_article_store(settings),
            open_forecast_store(settings),
            open_model_registry(settings),
            clock,
            Windows(watched.window_candles, timedelta(days=watched.window_days)),
        )

    return Training(jobs, Late(open_drift), Retraining(settings.retraining, jobs, store, clock))
