"""Forecaster training on a real Ray: the same windows, the same figures, a worker killed."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from finsight.domain.errors import InvalidInput
from finsight.domain.forecast_windows import Examples, join_examples, make_examples
from finsight.domain.forecaster_plan import plan_training, segments
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe
from finsight.domain.history import History
from finsight.domain.timeframe import Timeframe
from finsight.ports.news import KnownSentiment
from finsight.settings import Settings
from finsight.training.forecaster_data import TrainingData
from finsight.training.train_forecaster import fit_data
from finsight.training.windows import collect_windows, windows_over_ray
from tests.builders import HOUR, NOON, a_walk

# Ray Data reads its own deprecated options as it copies a context.
pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::FutureWarning"),
]

RECIPE = ForecasterRecipe(
    family=Family.NHITS,
    exogenous=True,
    input_size=48,
    horizon=6,
    steps=400,
    batch_size=16,
    check_every=20,
)


def histories() -> dict[str, History]:
    """Two series of several segments each, one with a hole."""
    news = [KnownSentiment(NOON + hour * HOUR, NOON, 0.4) for hour in range(0, 900, 7)]
    long = History.of_candles(a_walk(9000), Timeframe.H1, news)
    holed = History.of_candles(a_walk(5000, seed=1), Timeframe.H1, news)
    return {"long": long, "holed": History(**(vars(holed) | {"breaks": (2000,)}))}


def data() -> TrainingData:
    return TrainingData("forecaster-1h", Timeframe.H1, histories())


def test_windows_over_ray_are_those_made_here_in_their_order(ray_cluster: Any) -> None:
    plan = plan_training(histories(), RECIPE, "1h")
    cut = segments(histories(), plan)
    assert len(cut) == 5
    here = join_examples([make_examples(segment, plan.shape) for segment in cut])
    dataset = windows_over_ray(cut, plan.shape)
    blocks = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    over_ray = join_examples(collect_windows(blocks, plan.shape))
    for name in Examples.__annotations__:
        assert np.array_equal(getattr(here, name), getattr(over_ray, name)), name


def kill_the_worker_after_some_states(storage: Path, killed: list[int]) -> None:
    """Wait for the state to be written a few times, then kill -9 the worker of our own Ray."""
    until = time.monotonic() + 150
    seen: set[int] = set()
    while time.monotonic() < until and len(seen) < 3:
        seen.update(state.stat().st_mtime_ns for state in storage.glob("*/state/training.pt"))
        time.sleep(0.01)
    for process in psutil.Process().children(recursive=True):
        try:
            if "TrainWorker" in " ".join(process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
                return
        except psutil.NoSuchProcess:
            continue


@pytest.mark.long
@pytest.mark.timeout(400)  # Workers import torch: minutes on a machine that is busy.
def test_a_killed_worker_is_replaced_and_the_figures_are_unharmed(
    ray_cluster: Any, settings: Settings
) -> None:
    killed: list[int] = []
    storage = settings.data_dir / "training"
    killer = threading.Thread(target=kill_the_worker_after_some_states, args=(storage, killed))
    killer.start()
    over_ray = fit_data(settings, data(), RECIPE, over_ray=True)
    killer.join()
    assert killed, "the run ended before its worker could be killed"
    assert over_ray.metrics["workers_lost"] == 1
    here = fit_data(settings, data(), RECIPE)
    assert over_ray.history == here.history
    for name, value in here.metrics.items():
        if name != "training_seconds":
            assert over_ray.metrics[name] == value, name


@pytest.mark.long
@pytest.mark.timeout(400)
def test_what_the_training_refuses_is_said_as_it_is_here(
    ray_cluster: Any, settings: Settings
) -> None:
    one = {"a": History.of_candles(a_walk(120), Timeframe.H1)}
    recipe = RECIPE.model_copy(update={"exogenous": False})
    short = TrainingData("forecaster-1h", Timeframe.H1, one)
    with pytest.raises(InvalidInput, match="too little history to train on") as here:
        fit_data(settings, short, recipe)
    with pytest.raises(InvalidInput) as over_ray:
        fit_data(settings, short, recipe, over_ray=True)
    assert str(over_ray.value) == str(here.value)
