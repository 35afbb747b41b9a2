"""How a forecaster learns: windows that never cross a gap, and a last part held out.

The data is parted in time: the oldest teaches the network, the next decides when it has
learnt enough and how far it is to be believed beside a random walk, and the last
decides nothing: it measures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from finsight.adapters.models.forecast_descent import descend
from finsight.adapters.models.forecast_judging import (
    believed_weight,
    error_spread,
    part_metrics,
)
from finsight.adapters.models.neural_forecaster import NeuralConfig, NeuralForecaster
from finsight.domain.errors import InvalidInput
from finsight.domain.forecast import QUANTILES
from finsight.domain.forecast_windows import Examples, join_examples, make_examples
from finsight.domain.forecaster_plan import FEWEST_WINDOWS, TrainingPlan, plan_training, segments
from finsight.domain.forecaster_recipe import ForecasterRecipe, Loss, Target
from finsight.domain.history import History
from finsight.domain.time_splits import HELD_OUT, TRAINING, VALIDATION, TimeSplits
from finsight.ports.models import TrainingProgress

_MEDIAN = QUANTILES.index(0.5)


def fit_neural(
    histories: Mapping[str, History],
    recipe: ForecasterRecipe,
    timeframe: str | None,
    *,
    splits: TimeSplits | None = None,
    progress: TrainingProgress | None = None,
    checked: Callable[[int, float], bool] | None = None,
    state_folder: Path | None = None,
) -> NeuralForecaster:
    """Train one model over `histories`, by series key; the same seed gives the same weights.

    Raises: InvalidInput (data that can't be learnt from; says what), StoreUnavailable (the
        state can't be written).
    """
    plan = plan_training(histories, recipe, timeframe, splits)
    blocks = [make_examples(segment, plan.shape) for segment in segments(histories, plan)]
    return learn(plan, blocks, progress=progress, checked=checked, state_folder=state_folder)


def learn(
    plan: TrainingPlan,
    blocks: Sequence[Examples],
    *,
    progress: TrainingProgress | None = None,
    checked: Callable[[int, float], bool] | None = None,
    state_folder: Path | None = None,
) -> NeuralForecaster:
    """Turn the examples of a plan, in the order of its segments, into a model.

    The held-out part decides nothing about the model: it only gives the metrics.
    One thread unless the recipe says more: at the usual size a second costs more than it brings.
    Raises: as `fit_neural`.
    """
    started, recipe = time.perf_counter(), plan.recipe
    examples = join_examples(blocks)
    training, validation = examples.of(TRAINING), examples.of(VALIDATION)
    if len(training) < FEWEST_WINDOWS:
        raise InvalidInput(
            f"too little history to train on: {len(training)} windows of "
            f"{recipe.input_size + recipe.horizon} unbroken candles before the held-out part, "
            f"at least {FEWEST_WINDOWS} are needed; backfill more"
        )
    base = random_walk(training) if recipe.target is Target.LOG_RETURN else _nothing(recipe)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            descent = descend(
                recipe,
                training,
                validation,
                base,
                fingerprint=plan.fingerprint,
                progress=progress,
                checked=checked,
                state_folder=state_folder,
            )
        network = descent.judged.eval()
        weight = 1.0
        if recipe.target is Target.LOG_RETURN:
            weight = believed_weight(network, base, validation)
        elif recipe.loss is not Loss.QUANTILE:
            base = error_spread(network, validation if len(validation) else training)
        model = NeuralForecaster(
            NeuralConfig(
                recipe=recipe,
                timeframe=plan.timeframe,
                scales=plan.scales,
                learnt_until_ms=plan.learnt_until_ms,
                trained_until_ms=plan.shape.splits.held_out_from_ms,
                known_scale=plan.shape.known_scale,
                network_weight=weight,
            ),
            network,
            base,
            history={
                "loss": descent.losses,
                "validation_loss": descent.validation_losses,
            },
        )
        model.metrics = {
            **part_metrics(model, examples.of(HELD_OUT), "held_out"),
            # Comparable between recipes of other losses, which the validation loss is not.
            **part_metrics(model, validation, "validation"),
            "network_weight": weight,
            "training_windows": float(len(training)),
            "validation_loss": descent.best_loss,
            "best_step": float(descent.best_step),
            "steps_taken": float(descent.step),
            "training_seconds": time.perf_counter() - started,
        }
    finally:
        torch.set_num_threads(threads_before)
    return model


def random_walk(training: Examples) -> np.ndarray:
    base: np.ndarray = np.quantile(training.targets, QUANTILES, axis=0).T
    # The median of a random walk is where it stands: a past drift is no promise.
    base[:, _MEDIAN] = 0.0
    base.sort(axis=1)
    return base


def _nothing(recipe: ForecasterRecipe) -> np.ndarray:
    return np.zeros((recipe.horizon, len(QUANTILES)))
