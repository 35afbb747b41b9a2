"""What every worker of a sentiment training does: learn, judge, keep a checkpoint."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import torch

from finsight.training.sentiment_batches import collect
from finsight.training.sentiment_recipe import SentimentRecipe
from finsight.training.sentiment_session import SentimentSession

STATE_FILE = "state.pt"


def train_worker(config: dict[str, Any]) -> None:
    """Train by `config["recipe"]` on this worker's shard; report each epoch with a checkpoint.

    A worker that starts after another was killed goes on from the newest checkpoint, and
    says so. Every worker judges the whole validation part, so all stop at the same epoch.
    """
    recipe: SentimentRecipe = config["recipe"]
    torch.set_num_threads(recipe.threads)
    # One line an epoch is ours; Ray's own three lines a report would bury it.
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    say, leads = config["say"], ray.train.get_context().get_world_rank() == 0
    train = collect(ray.train.get_dataset_shard("train"))
    valid = collect(ray.train.get_dataset_shard("valid"))
    session = SentimentSession(recipe, train, config.get("member", 0))
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            session.restore(Path(folder) / STATE_FILE)
        if leads:
            say(
                "a worker was lost; going on from the checkpoint after epoch "
                f"{session.progress.epoch}"
            )
    while not session.finished():
        loss = session.run_epoch()
        quality = session.judge(valid)
        progress = session.progress
        measured = {
            "loss": loss,
            "valid_accuracy": quality.accuracy,
            "valid_macro_f1": quality.macro_f1,
        }
        progress.history.append(measured)
        if leads:
            say(
                f"epoch {progress.epoch} of {recipe.epochs}: loss {loss:.4f}, validation accuracy "
                f"{quality.accuracy:.4f}, macro-F1 {quality.macro_f1:.4f}"
            )
        metrics = {
            "epoch": progress.epoch,
            **measured,
            "history": progress.history,
            "best_epoch": progress.best_epoch,
            "best_macro_f1": progress.best_macro_f1,
            "resumed": progress.resumed,
        }
        with tempfile.TemporaryDirectory() as folder:
            if leads:
                session.save(Path(folder) / STATE_FILE)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint(folder) if leads else None)
