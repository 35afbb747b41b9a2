"""One run of forecaster training on Ray: windows by Ray Data, the fit by a Ray Train worker."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from finsight.domain.errors import FinSightError, InvalidInput, ModelUnavailable
from finsight.domain.forecaster_plan import TrainingPlan, segments
from finsight.domain.history import History
from finsight.ports.models import TrainedForecaster
from finsight.settings import Settings
from finsight.training.ray_cluster import join_cluster, workers_heard
from finsight.training.windows import collect_windows, windows_over_ray
from finsight.wiring import learn_forecaster, open_clock, open_trained

_LOSSES_SURVIVED = 3
_MODEL, _RESULT, _REFUSED = "model", "result.json", "refused.txt"


def fit_over_ray(
    settings: Settings, plan: TrainingPlan, histories: Mapping[str, History]
) -> TrainedForecaster:
    """Train as in this process, with the same result, on a worker that may be lost.

    The run's folder under the data folder keeps the state at each check; a worker that
    takes over goes on from there. Several machines must share the data folder.

    Raises: InvalidInput (what the training refuses, too few CPUs), ModelUnavailable (every
        fresh start failed).
    """
    cpus = join_cluster(max(os.cpu_count() or 1, 2))
    if cpus < 2:
        raise InvalidInput(
            f"training over Ray needs 2 CPUs, one for the worker and one for reading, and this "
            f"cluster has {cpus:g}; train without Ray"
        )
    name = f"forecaster-{open_clock(settings).now():%Y%m%d-%H%M%S}-{os.getpid()}"
    storage = settings.data_dir / "training"
    folder = storage / name
    # Made before the worker starts: with all CPUs taken by it, reading would wait for ever.
    windows = windows_over_ray(segments(histories, plan), plan.shape).materialize()
    try:
        with workers_heard() as say:
            TorchTrainer(
                _train_worker,
                train_loop_config={"plan": plan, "folder": str(folder), "say": say},
                scaling_config=ScalingConfig(num_workers=1),
                run_config=RunConfig(
                    name=name,
                    storage_path=str(storage),
                    failure_config=FailureConfig(max_failures=_LOSSES_SURVIVED),
                ),
                datasets={"windows": windows},
            ).fit()
    except TrainingFailedError as exc:
        if (folder / _REFUSED).is_file():
            raise InvalidInput((folder / _REFUSED).read_text()) from exc
        raise ModelUnavailable(
            f"the training failed, after {_LOSSES_SURVIVED} fresh starts where a worker was lost: "
            f"{str(exc).strip().splitlines()[-1]}"
        ) from exc
    if (folder / _REFUSED).is_file():
        raise InvalidInput((folder / _REFUSED).read_text())
    result = json.loads((folder / _RESULT).read_text())
    return open_trained(folder / _MODEL, result["metrics"], result["history"])


def _train_worker(config: dict[str, Any]) -> None:
    plan, folder, say = config["plan"], Path(config["folder"]), config["say"]
    shard = ray.train.get_dataset_shard("windows")
    blocks = shard.iter_batches(batch_size=None, batch_format="pyarrow")
    state_folder = folder / "state"
    starts = _count_start(state_folder)
    if starts > 1:
        say(f"a worker was lost; start {starts} goes on from the newest state")

    def progress(step: int, steps: int, loss: float) -> None:
        if step % 50 == 0 or step == steps:
            say(f"step {step} of {steps}, loss {loss:.4f}")

    try:
        model = learn_forecaster(
            plan, collect_windows(blocks, plan.shape), progress=progress, state_folder=state_folder
        )
    except InvalidInput as exc:
        # To start again would end the same way.
        (folder / _REFUSED).write_text(str(exc))
        return
    except FinSightError as exc:
        raise RuntimeError(str(exc)) from exc
    model.save(folder / _MODEL)
    metrics = dict(model.metrics) | {"workers_lost": float(starts - 1)}
    history = {series: list(values) for series, values in model.history.items()}
    (folder / _RESULT).write_text(json.dumps({"metrics": metrics, "history": history}))


def _count_start(state_folder: Path) -> int:
    """Return the how-manieth start this is."""
    state_folder.mkdir(parents=True, exist_ok=True)
    (state_folder / f"start-{len(list(state_folder.glob('start-*')))}").touch()
    return len(list(state_folder.glob("start-*")))
