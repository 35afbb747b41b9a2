"""Masked-language pretraining: an encoder learns a domain's words from texts without labels."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch import nn
from torch.nn import functional

from finsight.domain.errors import InvalidInput
from finsight.settings import Settings
from finsight.training.sentiment_batches import bucketed, collect, padded, tokenised_dataset
from finsight.training.sentiment_network import open_language_network, open_tokenizer, save_encoder
from finsight.training.sentiment_recipe import SentimentRecipe
from finsight.training.sentiment_session import mixed_precision, warmed_up
from finsight.training.sentiment_trainer import train_on_ray
from finsight.training.sentiment_training_loop import STATE_FILE

_HIDDEN = 0.2
"""The share of tokens to be guessed; of them 80 % are masked, 10 % are other tokens."""

_LONGEST = 96
_WARMUP = 0.06
_FEWEST = 8


def pretrain(
    settings: Settings,
    texts: Sequence[str],
    recipe: SentimentRecipe,
    folder: Path,
    workers: int = 1,
) -> None:
    """Teach `recipe.base` the language of `texts`; write an encoder that serves as a base.

    Raises: InvalidInput, ModelUnavailable.
    """
    if len(texts) < _FEWEST:
        raise InvalidInput(
            f"there are {len(texts)} texts to pretrain on; expected at least {_FEWEST}"
        )
    open_tokenizer(recipe.base)
    finished = train_on_ray(
        settings,
        pretrain_worker,
        {"recipe": recipe},
        lambda: {
            "train": tokenised_dataset(
                texts, recipe.base, _LONGEST, compare_figures=recipe.compare_figures
            )
        },
        workers,
    )
    save_encoder(folder, recipe.base, finished.weights)


def pretrain_worker(config: dict[str, Any]) -> None:
    """Learn to guess hidden tokens; report each epoch with a checkpoint."""
    recipe: SentimentRecipe = config["recipe"]
    torch.set_num_threads(recipe.threads)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    say, leads = config["say"], ray.train.get_context().get_world_rank() == 0
    session = _Session(recipe, collect(ray.train.get_dataset_shard("train")).tokens)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            session.restore(Path(folder) / STATE_FILE)
        if leads:
            say(
                f"a worker was lost; going on from the checkpoint after epoch {session.epoch} of "
                "the pretraining"
            )
    while session.epoch < recipe.pretraining_epochs:
        loss = session.run_epoch()
        if leads:
            say(
                f"pretraining, epoch {session.epoch} of {recipe.pretraining_epochs}: "
                f"loss {loss:.4f}"
            )
        metrics = {"epoch": session.epoch, "loss": loss, "resumed": session.resumed}
        with tempfile.TemporaryDirectory() as folder:
            if leads:
                session.save(Path(folder) / STATE_FILE)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint(folder) if leads else None)


class _Guessing(nn.Module):
    """Class scores over the vocabulary, for the hidden tokens alone where the head allows it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self._network = network

    def forward(self, batch: dict[str, torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
        head = getattr(self._network, "cls", None) or getattr(self._network, "lm_head", None)
        if head is None:
            return torch.as_tensor(self._network(**batch).logits[hidden])
        states = self._network.base_model(**batch).last_hidden_state
        return torch.as_tensor(head(states[hidden]))


class _Session:
    """The network that guesses, and its optimiser, on one worker."""

    def __init__(self, recipe: SentimentRecipe, tokens: list[list[int]]) -> None:
        self._recipe = recipe
        self._tokens = tokens
        self._device = ray.train.torch.get_device()
        self._plain: Any = open_language_network(recipe.base, recipe.seed)
        self._network = ray.train.torch.prepare_model(_Guessing(self._plain))
        tokenizer = open_tokenizer(recipe.base)
        self._mask = int(tokenizer.mask_token_id)
        self._padding = int(tokenizer.pad_token_id or 0)
        self._special = torch.tensor(tokenizer.all_special_ids, device=self._device)
        torch.manual_seed(recipe.seed + 1 + ray.train.get_context().get_world_rank())
        self._optimiser = torch.optim.AdamW(
            self._plain.parameters(),
            lr=recipe.pretraining_learning_rate,
            weight_decay=0.01,
            fused=True,
        )
        batches = -(-len(tokens) // recipe.batch)
        self._schedule = warmed_up(self._optimiser, batches * recipe.pretraining_epochs, _WARMUP)
        self.epoch = 0
        self.resumed = 0

    def run_epoch(self) -> float:
        """See every text once; return the mean loss of a batch."""
        self._network.train()
        batches = bucketed(
            [len(own) for own in self._tokens],
            self._recipe.batch,
            self._recipe.seed * 1000 + self.epoch,
        )
        total = 0.0
        for chosen in batches:
            batch = padded([self._tokens[index] for index in chosen], self._padding, self._device)
            wanted = self._hide(batch)
            with mixed_precision(self._device):
                logits = self._network(batch, wanted >= 0)
            # Where nothing was hidden the loss is 0, so that all workers still take the step.
            loss = functional.cross_entropy(
                logits.float(), wanted[wanted >= 0], reduction="sum"
            ) / max(len(logits), 1)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._plain.parameters(), 1.0)
            self._optimiser.step()
            self._schedule.step()
            self._optimiser.zero_grad()
            total += float(loss.detach())
        self.epoch += 1
        return total / len(batches)

    def save(self, path: Path) -> None:
        """Write all that going on from here takes."""
        torch.save(
            {
                "epoch": self.epoch,
                "resumed": self.resumed,
                "best": {name: value.cpu() for name, value in self._plain.state_dict().items()},
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
            },
            path,
        )

    def restore(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.epoch, self.resumed = state["epoch"], state["resumed"] + 1
        self._plain.load_state_dict(state["best"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])

    def _hide(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Hide tokens of `batch` in place; return what stood there, -1 elsewhere."""
        ids = batch["input_ids"]
        chance = torch.rand(ids.shape, device=self._device)
        free = (batch["attention_mask"] == 1) & ~torch.isin(ids, self._special)
        chosen = free & (chance < _HIDDEN)
        wanted = ids.masked_fill(~chosen, -1)
        masked = chosen & (chance < 0.8 * _HIDDEN)
        other = chosen & ~masked & (chance < 0.9 * _HIDDEN)
        any_ids = torch.randint(self._plain.config.vocab_size, ids.shape).to(self._device)
        batch["input_ids"] = torch.where(masked, self._mask, torch.where(other, any_ids, ids))
        return wanted
