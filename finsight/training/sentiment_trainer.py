"""One training of workers on Ray: started, watched over, its last checkpoint read."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data
import torch
from ray.train import (
    CheckpointConfig,
    DataConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchTrainer

from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.settings import Settings
from finsight.training.ray_cluster import join_cluster, workers_heard
from finsight.training.sentiment_training_loop import STATE_FILE
from finsight.wiring import open_clock

_LOSSES_SURVIVED = 3


@dataclass(frozen=True)
class FinishedTraining:
    """What a training ended with: its last figures, and the weights that it kept."""

    figures: Mapping[str, Any]
    weights: dict[str, torch.Tensor]


def train_on_ray(
    settings: Settings,
    worker: Callable[[dict[str, Any]], None],
    given: Mapping[str, Any],
    datasets: Callable[[], Mapping[str, Any]],
    workers: int,
) -> FinishedTraining:
    """Run `worker` on every worker; each takes its share of the data set "train".

    It is given `given`, and as "say" what shows a line here.

    The data sets are opened once Ray is there. A worker that is lost is replaced, and the
    run goes on from its checkpoint and says so.

    Raises: InvalidInput (too few CPUs for `workers`), ModelUnavailable.
    """
    if workers < 1:
        raise InvalidInput(f"workers is {workers}; expected at least 1")
    cpus = join_cluster(max(os.cpu_count() or 1, workers + 1))
    # One more than the workers take: reading the data needs one too, or all wait for ever.
    if cpus < workers + 1:
        raise InvalidInput(
            f"{workers} workers need {workers + 1} CPUs and this Ray cluster has "
            f"{cpus:g}; ask for fewer workers"
        )
    ray.data.DataContext.get_current().enable_progress_bars = False
    storage = settings.data_dir / "training"
    moment = f"{open_clock(settings).now():%Y%m%d-%H%M%S}"
    # A run of many trainings starts two within a second: the last part tells them apart.
    name = f"sentiment-{moment}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    try:
        with workers_heard() as say:
            result = TorchTrainer(
                worker,
                train_loop_config={**given, "say": say},
                scaling_config=ScalingConfig(
                    num_workers=workers, use_gpu=available.get("GPU", 0) >= workers
                ),
                run_config=RunConfig(
                    name=name,
                    storage_path=str(storage),
                    failure_config=FailureConfig(max_failures=_LOSSES_SURVIVED),
                    checkpoint_config=CheckpointConfig(num_to_keep=1),
                ),
                datasets=dict(datasets()),
                dataset_config=DataConfig(datasets_to_split=["train"]),
            ).fit()
        weights = _kept_weights(result.checkpoint)
    except TrainingFailedError as exc:
        raise ModelUnavailable(
            f"the training failed, after {_LOSSES_SURVIVED} fresh starts where a worker was lost: "
            f"{str(exc).strip().splitlines()[-1]}"
        ) from exc
    finally:
        # A checkpoint is several times as large as the model, and of no use to anyone else.
        shutil.rmtree(storage / name, ignore_errors=True)
    figures = dict(result.metrics or {})
    if figures.get("resumed"):
        print(f"the run lost a worker {figures['resumed']}x and went on from its checkpoint")
    return FinishedTraining(figures, weights)


def _kept_weights(checkpoint: Any) -> Any:
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder) / STATE_FILE, map_location="cpu", weights_only=True)
    return state["best"]
