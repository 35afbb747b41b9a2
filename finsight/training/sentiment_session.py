"""The state of a sentiment training on one worker: network, optimiser, average, progress."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from torch import nn

from finsight.domain.labelled_texts import CLASSES
from finsight.domain.sentiment_quality import SentimentQuality, judge_sentiment
from finsight.training.sentiment_batches import TokenisedTexts, bucketed, class_weights, padded
from finsight.training.sentiment_losses import PushedEmbeddings, regularised, soft_cross_entropy
from finsight.training.sentiment_network import (
    learnt_weights,
    open_network,
    put_weights,
    token_embeddings,
)
from finsight.training.sentiment_recipe import SentimentRecipe

_NORM = 1.0
_DECAY = 0.01
_SEEDS_APART = 10_007
"""So that no member of a soup is one of another seed's."""


@dataclass
class Progress:
    """What a checkpoint holds beside weights: where the run is, and the epoch kept so far.

    `history` has the figures of every epoch.
    """

    epoch: int = 0
    best_macro_f1: float = -1.0
    best_epoch: int = 0
    resumed: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class SentimentSession:
    """The network, its optimiser and the running average of its weights, on one worker."""

    def __init__(self, recipe: SentimentRecipe, train: TokenisedTexts, member: int = 0) -> None:
        """Members of a soup have the same first weights; dropout and order are their own."""
        self._recipe = recipe
        self._train = train
        self._device = ray.train.torch.get_device()
        self._plain: Any = open_network(recipe.base, recipe.lora_rank, recipe.seed)
        self._network = ray.train.torch.prepare_model(self._plain)
        self._padding = int(getattr(self._plain.config, "pad_token_id", None) or 0)
        self._pushed = (
            PushedEmbeddings(token_embeddings(self._plain), recipe.adversarial)
            if recipe.adversarial
            else None
        )
        rank = ray.train.get_context().get_world_rank()
        self._seed = recipe.seed + _SEEDS_APART * member
        torch.manual_seed(self._seed + 1 + rank)
        self._learning = [p for p in self._plain.parameters() if p.requires_grad]
        self._average = [weight.detach().clone() for weight in self._learning]
        self._best = learnt_weights(self._plain)
        self._optimiser = torch.optim.AdamW(
            self._learning, lr=recipe.learning_rate, weight_decay=_DECAY, fused=True
        )
        self._schedule = warmed_up(
            self._optimiser, self._steps_an_epoch() * recipe.epochs, recipe.warmup
        )
        self._costs = class_weights(train.classes, recipe.class_weighting).to(self._device)
        self._step = 0
        self.progress = Progress()

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
            self._seed * 1000 + self.progress.epoch,
        )
        total = 0.0
        for number, chosen in enumerate(batches, start=1):
            total += self._learn_from(chosen)
            if number % self._recipe.accumulate == 0 or number == len(batches):
                self._update()
        self.progress.epoch += 1
        return total / len(batches)

    def judge(self, valid: TokenisedTexts) -> SentimentQuality:
        """Judge the averaged weights on `valid`, and remember them when they are to be kept."""
        learnt = [weight.detach().clone() for weight in self._learning]
        self._put(self._average)
        quality = judge_sentiment(
            [CLASSES[number] for number in valid.classes], self._probabilities(valid)
        )
        if self._recipe.keep_last or quality.macro_f1 > self.progress.best_macro_f1:
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
        """Go on from what `save` wrote."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.progress = Progress(**state["progress"])
        self.progress.resumed += 1
        self._step = state["step"]
        put_weights(self._plain, state["learnt"])
        self._average = [weight.to(self._device) for weight in state["average"]]
        self._best = state["best"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])

    def _learn_from(self, chosen: Sequence[int]) -> float:
        """Add the gradients of one batch; return its loss, without what pushing adds."""
        batch = padded([self._train.tokens[i] for i in chosen], self._padding, self._device)
        targets = torch.from_numpy(self._train.targets[chosen]).float().to(self._device)

        def loss_of(logits: torch.Tensor) -> torch.Tensor:
            return soft_cross_entropy(logits, targets, self._costs, self._recipe.label_smoothing)

        loss = regularised(self._forward, batch, loss_of, self._recipe.r_drop)
        (loss / self._recipe.accumulate).backward()  # type: ignore[no-untyped-call]
        if self._pushed is not None:
            self._pushed.push()
            again = regularised(self._forward, batch, loss_of, self._recipe.r_drop)
            (again / self._recipe.accumulate).backward()  # type: ignore[no-untyped-call]
            self._pushed.release()
        return float(loss.detach())

    def _forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with mixed_precision(self._device):
            logits: torch.Tensor = self._network(**batch).logits
        return logits

    def _update(self) -> None:
        nn.utils.clip_grad_norm_(self._learning, _NORM)
        self._optimiser.step()
        self._schedule.step()
        self._optimiser.zero_grad()
        self._step += 1
        # A short average first: the first weights are worth forgetting.
        kept = min(self._recipe.averaging, (1 + self._step) / (10 + self._step))
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
                batch = padded([texts.tokens[i] for i in chosen], self._padding, self._device)
                logits = self._plain(**batch).logits
                answers[chosen] = torch.softmax(logits.float(), -1).cpu().numpy()
        return answers

    def _put(self, weights: Sequence[torch.Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self._learning, weights, strict=True):
                weight.copy_(value)

    def _steps_an_epoch(self) -> int:
        batches = -(-len(self._train.tokens) // self._recipe.batch)
        return max(-(-batches // self._recipe.accumulate), 1)


def warmed_up(optimiser: Any, steps: int, share: float) -> torch.optim.lr_scheduler.LambdaLR:
    """A learning rate that rises over the `share` of all `steps`, then falls to nothing."""
    rise = max(int(steps * share), 1)
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / rise, max(steps - step, 0) / max(steps - rise, 1))
    )


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Multiplies in bfloat16 where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=halves_pay(device))


def halves_pay(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 faster than fp32."""
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())
