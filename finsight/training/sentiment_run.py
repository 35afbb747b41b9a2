"""One run of sentiment training on Ray: from splits to a folder that serves."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
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
from finsight.domain.labelled_texts import CLASSES, LabelledText, Splits
from finsight.domain.long_texts import readable
from finsight.domain.sentiment_quality import SentimentQuality
from finsight.settings import NAMESPACE, Settings
from finsight.training.evaluate_sentiment import evaluate_sentiment
from finsight.training.sentiment_network import open_tokenizer, save_classifier
from finsight.training.sentiment_training_loop import STATE_FILE, SentimentRecipe, train_worker
from finsight.wiring import load_sentiment_model, open_clock

_LOSSES_SURVIVED = 3


@dataclass(frozen=True)
class TrainedSentiment:
    """What a run ended with.

    `folder` opens with transformers and with our serving; `valid` and `test` judge it as
    it is served (int8 on a CPU); `training` holds the run's own last figures.
    """

    folder: Path
    splits: Splits
    valid: SentimentQuality
    test: SentimentQuality | None
    training: Mapping[str, float] = field(default_factory=dict)


def fit_sentiment(
    settings: Settings, splits: Splits, recipe: SentimentRecipe, folder: Path, workers: int = 1
) -> TrainedSentiment:
    """Train on Ray and write the best epoch's model into `folder`.

    Raises: InvalidInput (too few CPUs for `workers`), ModelUnavailable.
    """
    _check(recipe, workers)
    open_tokenizer(recipe.base)  # A base that can't be read is said before Ray starts.
    result = _run(settings, splits, recipe, workers)
    metrics = dict(result.metrics or {})
    if metrics.get("resumed"):
        print(f"the run lost a worker {metrics['resumed']}x and went on from its checkpoint")
    save_classifier(folder, recipe.base, recipe.lora_rank, _best_weights(result))
    _save_splits(folder, splits)
    model = load_sentiment_model(settings, demanded=str(folder))
    return TrainedSentiment(
        folder,
        splits,
        evaluate_sentiment(model, splits.valid),
        evaluate_sentiment(model, splits.test) if splits.test else None,
        metrics,
    )


def _run(settings: Settings, splits: Splits, recipe: SentimentRecipe, workers: int) -> Any:
    """Return Ray Train's result. Raises: InvalidInput, ModelUnavailable."""
    _connect(workers)
    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    # One more than the workers take: reading the data needs one too, or all wait for ever.
    if available.get("CPU", 0) < workers + 1:
        raise InvalidInput(
            f"{workers} workers need {workers + 1} CPUs and this Ray cluster has "
            f"{available.get('CPU', 0):g}; ask for fewer workers"
        )
    ray.data.DataContext.get_current().enable_progress_bars = False
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"recipe": recipe},
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=available.get("GPU", 0) >= workers
        ),
        run_config=RunConfig(
            name=f"sentiment-{open_clock(settings).now():%Y%m%d-%H%M%S}-{os.getpid()}",
            storage_path=str(settings.data_dir / "training"),
            failure_config=FailureConfig(max_failures=_LOSSES_SURVIVED),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
        datasets={
            "train": _tokenised(splits.train, recipe),
            "valid": _tokenised(splits.valid, recipe),
        },
        dataset_config=DataConfig(datasets_to_split=["train"]),
    )
    try:
        return trainer.fit()
    except TrainingFailedError as exc:
        raise ModelUnavailable(
            f"the training failed, after {_LOSSES_SURVIVED} fresh starts where a worker was lost: "
            f"{str(exc).strip().splitlines()[-1]}"
        ) from exc


def _connect(workers: int) -> None:
    """Join the cluster that RAY_ADDRESS names (as in a Ray job), else start one here."""
    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(namespace=NAMESPACE)
        return
    cpus = max(os.cpu_count() or 1, workers + 1)
    # Ray Train asks the dashboard's State API whether its controller lives; where there is
    # none it takes the controller for dead after some minutes, and ends the workers.
    ray.init(
        address="local",
        num_cpus=cpus,
        namespace=NAMESPACE,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
    )


def _tokenised(texts: Sequence[LabelledText], recipe: SentimentRecipe) -> Any:
    """A Ray dataset of token ids and class numbers."""
    table = pa.table(
        {
            "text": [readable(text.text) for text in texts],
            "class": [CLASSES.index(text.label) for text in texts],
        }
    )
    longest, base = recipe.max_tokens, recipe.base

    def tokenise(batch: pa.Table) -> pa.Table:
        tokens = open_tokenizer(base)(
            batch["text"].to_pylist(), truncation=True, max_length=longest
        )["input_ids"]
        return pa.table({"tokens": tokens, "class": batch["class"]})

    return ray.data.from_arrow(table).map_batches(tokenise, batch_format="pyarrow", batch_size=4096)


def _check(recipe: SentimentRecipe, workers: int) -> None:
    """Raises: InvalidInput."""
    counts = {
        "workers": workers,
        "epochs": recipe.epochs,
        "batch": recipe.batch,
        "accumulate": recipe.accumulate,
    }
    for name, count in counts.items():
        if count < 1:
            raise InvalidInput(f"{name} is {count}; expected at least 1")
    if not 0 < recipe.learning_rate < 1:
        raise InvalidInput(
            f"the learning rate is {recipe.learning_rate}; expected above 0 and below 1"
        )


def _best_weights(result: Any) -> Any:
    with result.checkpoint.as_directory() as folder:
        state = torch.load(Path(folder) / STATE_FILE, map_location="cpu", weights_only=True)
    return state["best"]


def _save_splits(folder: Path, splits: Splits) -> None:
    """Keep which row of which file was in which part; the texts stay with their owner."""
    with (folder / "splits.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["part", "file", "row", "label"])
        for part in ("train", "valid", "test"):
            for text in getattr(splits, part):
                writer.writerow([part, text.file, text.row, text.label])
