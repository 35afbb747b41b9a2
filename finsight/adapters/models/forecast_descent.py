"""How a network's weights are found, step by step, and how that goes on after a crash."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from finsight.adapters.models.forecast_network import ForecastNetwork
from finsight.domain.errors import InvalidInput, StoreUnavailable
from finsight.domain.forecast import QUANTILES
from finsight.domain.forecast_windows import Examples
from finsight.domain.forecaster_recipe import ForecasterRecipe, Loss, Target
from finsight.ports.models import TrainingProgress

STATE_FILE = "training.pt"
VALIDATION_WINDOWS = 4096
"""Evenly chosen ones that the validation loss is taken on."""

_AT_ONCE = 1024
_WEIGHT_DECAY = 0.01


@dataclass
class Descent:
    """Where a training is; everything that the next step depends on is in `state()`."""

    network: ForecastNetwork
    averaged: ForecastNetwork | None
    optimiser: Any
    schedule: Any
    picks: torch.Generator
    step: int = 0
    finished: bool = False
    best_loss: float = float("inf")
    best_step: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    checks: list[int] = field(default_factory=list)

    @property
    def judged(self) -> ForecastNetwork:
        """The network that is validated and kept."""
        return self.averaged or self.network

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.inner.state_dict(),
            "averaged": self.averaged.inner.state_dict() if self.averaged else {},
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "picks": self.picks.get_state(),
            "dropout": torch.get_rng_state(),
            **{name: getattr(self, name) for name in _PLAIN},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.inner.load_state_dict(state["network"])
        if self.averaged is not None:
            self.averaged.inner.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.picks.set_state(state["picks"])
        torch.set_rng_state(state["dropout"])
        for name in _PLAIN:
            setattr(self, name, state[name])


_PLAIN = (
    "step",
    "finished",
    "best_loss",
    "best_step",
    "best",
    "losses",
    "validation_losses",
    "checks",
)


def descend(
    recipe: ForecasterRecipe,
    training: Examples,
    validation: Examples,
    base: np.ndarray,
    *,
    fingerprint: str,
    progress: TrainingProgress | None = None,
    checked: Callable[[int, float], bool] | None = None,
    state_folder: Path | None = None,
) -> Descent:
    """Learn, and return the descent with its network at the best check's weights.

    Call it with torch seeded: the same seed gives the same weights, also when it is killed
    and called again with the same `state_folder`.

    Raises: InvalidInput (the folder holds the state of another training), StoreUnavailable
        (the state can't be written: a full disk).
    """
    descent = _begin(recipe)
    kept = state_folder / STATE_FILE if state_folder else None
    if kept is not None and kept.is_file():
        descent.restore(_read_state(kept, fingerprint))
    tensors = _Tensors(recipe, training, base)
    since_check: list[float] = []
    while not descent.finished:
        loss = _one_step(recipe, descent, tensors)
        since_check.append(loss)
        step = descent.step
        if progress is not None and (step % 10 == 0 or step == recipe.steps):
            progress(step, recipe.steps, loss)
        if step % recipe.check_every == 0 or step == recipe.steps:
            _check(recipe, descent, validation, base, float(np.mean(since_check)))
            since_check = []
            if checked is not None and checked(step, descent.validation_losses[-1]):
                descent.finished = True
            if kept is not None:
                _write_state(kept, descent.state() | {"fingerprint": fingerprint})
    descent.judged.inner.load_state_dict(descent.best)
    return descent


def validation_loss(
    recipe: ForecasterRecipe, network: ForecastNetwork, examples: Examples, base: np.ndarray
) -> float:
    """Return the recipe's loss over evenly chosen examples."""
    rows = np.linspace(0, len(examples) - 1, min(len(examples), VALIDATION_WINDOWS)).astype(int)
    tensors = _Tensors(recipe, examples, base)
    network.eval()
    total = 0.0
    with torch.inference_mode():
        for at in range(0, len(rows), _AT_ONCE):
            chosen = torch.from_numpy(rows[at : at + _AT_ONCE])
            total += float(tensors.loss(network, chosen)) * len(chosen)
    network.train()
    return total / len(rows)


class _Tensors:
    """Examples as torch sees them, without a copy, and the loss over some of their rows."""

    def __init__(self, recipe: ForecasterRecipe, examples: Examples, base: np.ndarray) -> None:
        self._recipe = recipe
        self._seen = torch.from_numpy(examples.seen)
        self._known = torch.from_numpy(examples.known) if examples.known.shape[1] else None
        self._targets = torch.from_numpy(examples.targets)
        # An error counts in deviations of the series, however quiet the window was.
        self._weight = None
        if recipe.target is Target.VALUE:
            self._weight = torch.from_numpy(examples.weight)
        # What is fitted is the middle when one number comes out, else each quantile.
        one = recipe.loss is not Loss.QUANTILE
        self._base = torch.from_numpy(base.astype(np.float32)) if not one else torch.zeros(1)
        self._quantiles = torch.tensor(QUANTILES)

    def __len__(self) -> int:
        return len(self._seen)

    def loss(self, network: ForecastNetwork, rows: torch.Tensor) -> torch.Tensor:
        known = None if self._known is None else self._known[rows]
        error = self._targets[rows][:, :, None] - (self._base + network(self._seen[rows], known))
        if self._weight is not None:
            error = error * self._weight[rows][:, :, None]
        if self._recipe.loss is Loss.SQUARED:
            each = error.square()
        elif self._recipe.loss is Loss.ABSOLUTE:
            each = error.abs()
        else:
            each = torch.maximum(self._quantiles * error, (self._quantiles - 1) * error)
        mean: torch.Tensor = each.mean()
        return mean


def _begin(recipe: ForecasterRecipe) -> Descent:
    network = ForecastNetwork(recipe)
    network.train()
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=_WEIGHT_DECAY
    )
    return Descent(
        network,
        copy.deepcopy(network) if recipe.averaging else None,
        optimiser,
        torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=recipe.learning_rate, total_steps=max(recipe.steps, 2)
        ),
        torch.Generator().manual_seed(torch.initial_seed()),
    )


def _one_step(recipe: ForecasterRecipe, descent: Descent, tensors: _Tensors) -> float:
    many = min(recipe.batch_size, len(tensors))
    rows = torch.randint(len(tensors), (many,), generator=descent.picks)
    loss = tensors.loss(descent.network, rows)
    descent.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(descent.network.parameters(), 1.0)
    descent.optimiser.step()
    descent.schedule.step()
    descent.step += 1
    if descent.averaged is not None:
        _average(descent.averaged, descent.network, recipe.averaging, descent.step)
    return float(loss.detach())


@torch.no_grad()
def _average(into: ForecastNetwork, of: ForecastNetwork, kept: float, step: int) -> None:
    # Early on the mean must not remember where it began.
    kept = min(kept, (1 + step) / (10 + step))
    for mean, now in zip(into.state_dict().values(), of.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(now, 1 - kept)
        else:
            mean.copy_(now)


def _check(
    recipe: ForecasterRecipe,
    descent: Descent,
    validation: Examples,
    base: np.ndarray,
    training_loss: float,
) -> None:
    # Without a validation part the newest weights are the best known.
    loss = training_loss
    if len(validation):
        loss = validation_loss(recipe, descent.judged, validation, base)
    descent.losses.append(training_loss)
    descent.validation_losses.append(loss)
    descent.checks.append(descent.step)
    if loss < descent.best_loss or not len(validation):
        descent.best_loss, descent.best_step = loss, descent.step
        weights = descent.judged.inner.state_dict()
        descent.best = {name: weight.clone() for name, weight in weights.items()}
    if not np.isfinite(loss):
        raise InvalidInput(
            f"the training lost its way: the loss at step {descent.step} is {loss}; take a lower "
            f"learning rate than {recipe.learning_rate}"
        )
    without_gain = len(descent.checks) - 1 - descent.checks.index(descent.best_step)
    stale = recipe.patience is not None and without_gain >= recipe.patience
    descent.finished = stale or descent.step >= recipe.steps


def _read_state(path: Path, fingerprint: str) -> dict[str, Any]:
    try:
        # Nothing in the file is executed.
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as exc:
        raise InvalidInput(
            f"{path} is no state of a training, or is damaged; remove it to begin anew"
        ) from exc
    if state.get("fingerprint") != fingerprint:
        raise InvalidInput(
            f"{path} holds the state of another training, by another recipe or on other data; "
            "take an empty folder, or remove the file to begin anew"
        )
    return state


def _write_state(path: Path, state: dict[str, Any]) -> None:
    """Whole or not at all: a kill in the middle leaves the state before."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".writing")
        torch.save(state, beside)
        beside.replace(path)
    except (OSError, RuntimeError) as exc:
        raise StoreUnavailable(
            f"the state of the training can't be kept in {path.parent}: {exc}; free disk space "
            "or take another folder, and start it again: it goes on from its last state"
        ) from exc
