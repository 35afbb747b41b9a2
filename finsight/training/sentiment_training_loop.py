"""What every worker of a sentiment training does: learn, judge, keep a checkpoint."""

from __future__ import annotations

import logging
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from torch import nn

from finsight.domain.labelled_texts import CLASSES
from finsight.domain.sentiment_quality import SentimentQuality, judge_sentiment
from finsight.training.sentiment_network import learnt_weights, open_network, put_weights

STATE_FILE = "state.pt"
_BUCKET_BATCHES = 50
_LONGEST_AVERAGE = 0.995
_NORM = 1.0


@dataclass(frozen=True)
class SentimentRecipe:
    """How a sentiment model is trained.

    Units:
        batch: texts of one forward pass of one worker; `accumulate` passes make a step.
        warmup: the share of all steps over which the learning rate rises.
        patience: epochs without a better macro-F1 after which training stops.
        class_weighting: 0 counts each text once, 1 each class once; between, a blend.
    """

    base: str = "compact"
    lora_rank: int | None = None
    epochs: int = 4
    batch: int = 32
    accumulate: int = 1
    learning_rate: float = 5e-5
    warmup: float = 0.1
    patience: int = 2
    class_weighting: float = 0.5
    label_smoothing: float = 0.05
    max_tokens: int = 256
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class TokenisedTexts:
    """Token ids, one list a text, and the number of each one's class in `CLASSES`."""

    tokens: list[list[int]]
    classes: np.ndarray


@dataclass
class _Progress:
    """What a checkpoint holds beside weights: where the run is, and the best epoch so far."""

    epoch: int = 0
    best_macro_f1: float = -1.0
    best_epoch: int = 0
    resumed: int = 0


def train_worker(config: dict[str, Any]) -> None:
    """Train by `config["recipe"]` on this worker's shard; report each epoch with a checkpoint.

    A worker that starts after another was killed goes on from the newest checkpoint, and
    says so. Every worker judges the whole validation part, so all stop at the same epoch.
    """
    recipe: SentimentRecipe = config["recipe"]
    torch.set_num_threads(recipe.threads)
    # One line an epoch is ours; Ray's own three lines a report would bury it.
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    train = _collect(ray.train.get_dataset_shard("train"))
    valid = _collect(ray.train.get_dataset_shard("valid"))
    session = _Session(recipe, train)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            session.restore(Path(folder) / STATE_FILE)
    leads = ray.train.get_context().get_world_rank() == 0
    while not session.finished():
        loss = session.run_epoch()
        quality = session.judge(valid)
        progress = session.progress
        if leads:
            print(
                f"epoch {progress.epoch} of {recipe.epochs}: loss {loss:.4f}, validation accuracy "
                f"{quality.accuracy:.4f}, macro-F1 {quality.macro_f1:.4f}",
                flush=True,
            )
        metrics = {
            "epoch": progress.epoch,
            "loss": loss,
            "valid_accuracy": quality.accuracy,
            "valid_macro_f1": quality.macro_f1,
            "best_epoch": progress.best_epoch,
            "best_macro_f1": progress.best_macro_f1,
            "resumed": progress.resumed,
        }
        with tempfile.TemporaryDirectory() as folder:
            if leads:
                session.save(Path(folder) / STATE_FILE)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint(folder) if leads else None)


class _Session:
    """The network, its optimiser and the running average of its weights, on one worker."""

    def __init__(self, recipe: SentimentRecipe, train: TokenisedTexts) -> None:
        self._recipe = recipe
        self._train = train
        self._device = ray.train.torch.get_device()
        self._plain = open_network(recipe.base, recipe.lora_rank, recipe.seed)
        self._network = ray.train.torch.prepare_model(self._plain)
        rank = ray.train.get_context().get_world_rank()
        torch.manual_seed(recipe.seed + 1 + rank)
        self._learning = [p for p in self._plain.parameters() if p.requires_grad]
        self._average = [weight.detach().clone() for weight in self._learning]
        self._best = learnt_weights(self._plain)
        self._optimiser = torch.optim.AdamW(
            self._learning, lr=recipe.learning_rate, weight_decay=0.01
        )
        steps = self._steps_an_epoch() * recipe.epochs
        rise = max(int(steps * recipe.warmup), 1)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser,
            lambda step: min((step + 1) / rise, max(steps - step, 0) / max(steps - rise, 1)),
        )
        self._loss = nn.CrossEntropyLoss(
            weight=class_weights(train.classes, recipe.class_weighting).to(self._device),
            label_smoothing=recipe.label_smoothing,
        )
        self._step = 0
        self.progress = _Progress()

    def finished(self) -> bool:
        """Whether all epochs are done, or patience is at an end."""
        progress = self.progress
        stale = progress.epoch - progress.best_epoch
        return progress.epoch >= self._recipe.epochs or stale > self._recipe.patience

    def run_epoch(self) -> float:
        """Learn from every text of this worker once; return the mean loss of a batch."""
        self._network.train()
        # Seeded by the epoch, so that a run that was resumed sees the same batches.
        batches = bucketed(
            [len(tokens) for tokens in self._train.tokens],
            self._recipe.batch,
            self._recipe.seed * 1000 + self.progress.epoch,
        )
        total = 0.0
        for number, chosen in enumerate(batches, start=1):
            wanted = torch.from_numpy(self._train.classes[chosen]).to(self._device)
            with self._mixed_precision():
                logits = self._network(**self._padded(self._train, chosen)).logits
            loss = self._loss(logits.float(), wanted)
            (loss / self._recipe.accumulate).backward()
            total += float(loss.detach())
            if number % self._recipe.accumulate == 0 or number == len(batches):
                self._update()
        self.progress.epoch += 1
        return total / len(batches)

    def judge(self, valid: TokenisedTexts) -> SentimentQuality:
        """Judge the averaged weights on `valid`, and remember them when they are the best."""
        learnt = [weight.detach().clone() for weight in self._learning]
        self._put(self._average)
        quality = judge_sentiment(
            [CLASSES[number] for number in valid.classes], self._probabilities(valid)
        )
        if quality.macro_f1 > self.progress.best_macro_f1:
            self.progress.best_macro_f1 = quality.macro_f1
            self.progress.best_epoch = self.progress.epoch
            self._best = learnt_weights(self._plain)
        self._put(learnt)
        return quality

    def save(self, path: Path) -> None:
        """Write all that going on from here takes."""
        state = {
            "progress": vars(self.progress),
            "step": self._step,
            "learnt": learnt_weights(self._plain),
            "average": [weight.cpu() for weight in self._average],
            "best": self._best,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        torch.save(state, path)

    def restore(self, path: Path) -> None:
        """Go on from what `save` wrote, and say so."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.progress = _Progress(**state["progress"])
        self.progress.resumed += 1
        self._step = state["step"]
        put_weights(self._plain, state["learnt"])
        self._average = [weight.to(self._device) for weight in state["average"]]
        self._best = state["best"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        print(
            f"a worker was lost; going on from the checkpoint after epoch {self.progress.epoch}",
            flush=True,
        )

    def _update(self) -> None:
        nn.utils.clip_grad_norm_(self._learning, _NORM)
        self._optimiser.step()
        self._schedule.step()
        self._optimiser.zero_grad()
        self._step += 1
        # A short average first: the first weights are worth forgetting.
        kept = min(_LONGEST_AVERAGE, (1 + self._step) / (10 + self._step))
        for average, weight in zip(self._average, self._learning, strict=True):
            average.lerp_(weight.detach(), 1 - kept)

    def _probabilities(self, texts: TokenisedTexts) -> np.ndarray:
        self._network.eval()
        answers = np.zeros((len(texts.tokens), len(CLASSES)), dtype=np.float64)
        lengths = [len(tokens) for tokens in texts.tokens]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        with torch.inference_mode():
            for start in range(0, len(order), 128):
                chosen = order[start : start + 128]
                logits = self._plain(**self._padded(texts, chosen)).logits
                answers[chosen] = torch.softmax(logits.float(), -1).cpu().numpy()
        return answers

    def _padded(self, texts: TokenisedTexts, chosen: Sequence[int]) -> dict[str, torch.Tensor]:
        parts = [texts.tokens[index] for index in chosen]
        padding = int(getattr(self._plain.config, "pad_token_id", None) or 0)
        ids = torch.full((len(parts), max(map(len, parts))), padding)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(parts):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return {"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)}

    def _mixed_precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=halves_pay(self._device))

    def _put(self, weights: Sequence[torch.Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self._learning, weights, strict=True):
                weight.copy_(value)

    def _steps_an_epoch(self) -> int:
        batches = -(-len(self._train.tokens) // self._recipe.batch)
        return max(-(-batches // self._recipe.accumulate), 1)


def halves_pay(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 faster than fp32."""
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())


def class_weights(classes: np.ndarray, weighting: float) -> torch.Tensor:
    """Return what an error in each class costs: rarity to the power of `weighting`; mean 1."""
    counts = torch.from_numpy(np.bincount(classes, minlength=len(CLASSES))).float().clamp_min(1)
    weights = (counts.sum() / counts) ** weighting
    return weights / weights.mean()


def bucketed(lengths: Sequence[int], batch: int, seed: int) -> list[list[int]]:
    """Return all indices in batches of similar length, in an order that `seed` decides."""
    shuffling = random.Random(seed)
    order = list(range(len(lengths)))
    shuffling.shuffle(order)
    batches: list[list[int]] = []
    for pool in _slices(order, batch * _BUCKET_BATCHES):
        batches += _slices(sorted(pool, key=lambda index: lengths[index]), batch)
    shuffling.shuffle(batches)
    return batches


def _slices(values: list[int], size: int) -> Iterator[list[int]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _collect(shard: Any) -> TokenisedTexts:
    """Bring a shard into memory: sentences are small, and bucketing looks at them all."""
    tokens: list[list[int]] = []
    classes: list[int] = []
    for batch in shard.iter_batches(batch_format="pyarrow", batch_size=4096):
        tokens += batch["tokens"].to_pylist()
        classes += batch["class"].to_pylist()
    return TokenisedTexts(tokens, np.array(classes, dtype=np.int64))
