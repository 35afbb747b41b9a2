"""What the last value, standing for ever, costs by a recipe's own loss: naive's figure.

A loss counts in units that depend on the recipe (how far a window's price wanders), so
the losses of two recipes can only be compared beside naive's on the same windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from finsight.adapters.models.forecast_descent import validation_loss
from finsight.adapters.models.neural_training import random_walk
from finsight.domain.errors import InvalidInput
from finsight.domain.forecast import QUANTILES
from finsight.domain.forecast_windows import Examples, join_examples
from finsight.domain.forecaster_plan import TrainingPlan
from finsight.domain.forecaster_recipe import Loss
from finsight.domain.time_splits import TRAINING, VALIDATION


class _Standing(torch.nn.Module):
    """Adds the last value seen, and nothing else, to the spread of a random walk."""

    def __init__(self, horizon: int, answers: int) -> None:
        super().__init__()
        self._shape = horizon, answers

    def forward(self, seen: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
        return seen[:, -1:, None].expand(len(seen), *self._shape)


def standing_loss(plan: TrainingPlan, windows: Sequence[Examples]) -> float:
    """Return naive's validation loss, over the windows on which the recipe's is taken.

    Raises: InvalidInput (too few windows to train or to validate on; says how many).
    """
    recipe, examples = plan.recipe, join_examples(windows)
    training, validation = examples.of(TRAINING), examples.of(VALIDATION)
    if not len(training) or not len(validation):
        raise InvalidInput(
            f"too little history to compare recipes on: {len(training)} windows of "
            f"{recipe.input_size + recipe.horizon} unbroken candles to train and "
            f"{len(validation)} to validate; backfill more, or take smaller input sizes"
        )
    outputs = len(QUANTILES) if recipe.loss is Loss.QUANTILE else 1
    standing: Any = _Standing(recipe.horizon, outputs)
    return validation_loss(recipe, standing, validation, random_walk(training))
