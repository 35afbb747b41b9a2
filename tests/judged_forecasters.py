"""A small platform with stored walks and a forecaster that learnt from their beginnings."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ForecastInput, TrainedForecaster
from finsight.settings import ForecastingSettings, Settings
from finsight.wiring import fit_forecaster, open_candle_store, open_model_registry
from tests.builders import BTC_HOURLY, ETH_HOURLY, HOUR, NOON, a_walk

KIND = "forecaster-1h"
WALKS = {BTC_HOURLY: a_walk(900), ETH_HOURLY: a_walk(900, seed=1)}
LEARNT = 400
"""How many candles of each walk the model is given to learn from."""

END = NOON + 900 * HOUR


def a_platform(folder: Path) -> tuple[Settings, datetime]:
    """Settings of one with a champion; returns when what it learnt from ends, too."""
    settings = Settings(
        data_dir=folder,
        forecasting=ForecastingSettings(horizon=6, input_candles=24, train_steps=6),
    )
    store = open_candle_store(settings)
    for series, walk in WALKS.items():
        asyncio.run(store.upsert(series, walk))
    model, version = a_version(settings)
    open_model_registry(settings).set_champion(KIND, version)
    return settings, model.trained_until


def a_version(
    settings: Settings, recipe: ForecasterRecipe | None = None
) -> tuple[TrainedForecaster, str]:
    """Train a model on the beginnings and register it; returns its version, too."""
    known = {series.key: walk.between(NOON, NOON + LEARNT * HOUR) for series, walk in WALKS.items()}
    model = fit_forecaster(settings, Timeframe.H1, known, recipe)
    with tempfile.TemporaryDirectory() as scratch:
        model.save(Path(scratch) / "model")
        reference = open_model_registry(settings).register(
            KIND,
            Path(scratch) / "model",
            params=model.params,
            metrics=model.metrics,
            tags={"trained_until": model.trained_until.isoformat()},
        )
    return model, reference.version


class DiesOnce(NaiveForecaster):
    """Naive, but the first process that asks it is killed as by `kill -9`."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        if not self.mark.exists():
            self.mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forecast(inputs)
