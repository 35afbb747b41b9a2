"""How a forecaster learns: windows that never cross a gap, and a last part held out.

The data is parted in time: the oldest teaches the network, the next decides when it has
learnt enough and how far it is to be believed beside a random walk, and the last
decides nothing: it measures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from finsight.adapters.models.forecast_descent import descend
from finsight.adapters.models.forecast_judging import (
    believed_weight,
    error_spread,
    held_out_metrics,
)
from finsight.adapters.models.forecast_windows import (
    Examples,
    Segment,
    WindowShape,
    cut_segments,
    join_examples,
    known_columns,
    make_examples,
)
from finsight.adapters.models.neural_forecaster import NeuralConfig, NeuralForecaster
from finsight.domain.errors import InvalidInput
from finsight.domain.fitted_scale import FittedScale
from finsight.domain.forecast import QUANTILES
from finsight.domain.forecaster_recipe import ForecasterRecipe, Loss, Target
from finsight.domain.history import History, fingerprint
from finsight.domain.time_splits import (
    HELD_OUT,
    TRAINING,
    VALIDATION,
    TimeSplits,
    split_by_share,
)
from finsight.ports.models import TrainingProgress

_MEDIAN = QUANTILES.index(0.5)
_FEWEST_WINDOWS = 32


@dataclass(frozen=True)
class TrainingPlan:
    """All that is settled before the first window is made: plain values, so that it travels.

    `scales` are those of the series that teach, fitted on the training part alone.
    `fingerprint` tells it from a training on other data or by another recipe.
    """

    recipe: ForecasterRecipe
    timeframe: str | None
    shape: WindowShape
    scales: Mapping[str, FittedScale]
    fingerprint: str

    @property
    def learnt_until_ms(self) -> int:
        return self.shape.splits.valid_from_ms


def plan_training(
    histories: Mapping[str, History],
    recipe: ForecasterRecipe,
    timeframe: str | None,
    splits: TimeSplits | None = None,
) -> TrainingPlan:
    """Settle the parts and fit the scales, on the training part alone.

    Raises: InvalidInput (no data, a series that never changes, prices that are not positive
        with log returns, features that are missing).
    """
    what = f"{timeframe} candles" if timeframe else "values"
    if not any(len(history) > 1 for history in histories.values()):
        raise InvalidInput(f"there are no {what} to train on")
    for key, history in histories.items():
        _check(key, history, recipe)
    splits = splits or split_by_share(histories, recipe.held_out_share, recipe.horizon)
    learnt_until = splits.valid_from_ms - splits.embargo_ms
    scales, known, known_ts = {}, [], []
    for key, history in histories.items():
        rows = history.ts_ms < learnt_until
        if not _teaches(history, recipe, learnt_until):
            continue
        scales[key] = FittedScale.fit(history.values[rows][:, None], history.ts_ms[rows])
        if recipe.exogenous:
            columns = known_columns(history.known)[rows]
            columns[:, 0] -= columns[:, 0].mean()
            known.append(columns)
            known_ts.append(history.ts_ms[rows])
    if not scales:
        length = recipe.input_size + recipe.horizon
        longest = max(histories, key=lambda key: len(histories[key]))
        raise InvalidInput(
            f"too little history to train on {what}: 0 windows of {length} unbroken candles "
            f"before the held-out part, at least {_FEWEST_WINDOWS} are needed; the longest "
            f"series, {longest}, has {len(histories[longest])} in all; backfill more, or take a "
            "smaller input size or horizon"
        )
    return TrainingPlan(
        recipe,
        timeframe,
        WindowShape(
            recipe.input_size,
            recipe.horizon,
            recipe.target,
            recipe.instance_norm,
            splits,
            FittedScale.fit(np.concatenate(known), np.concatenate(known_ts)) if known else None,
        ),
        scales,
        f"{fingerprint(histories)}-{recipe.model_dump_json()}-{splits}",
    )


def segments(histories: Mapping[str, History], plan: TrainingPlan) -> list[Segment]:
    """Return the stretches that `make_examples` turns into windows, in the series' order.

    A series without a training window is left out: nothing is known of its scale.
    """
    found = []
    for key in sorted(histories):
        scale = plan.scales.get(key)
        if scale is not None:
            own = scale.means[0], scale.deviations[0]
            found.extend(cut_segments(key, histories[key], plan.shape, own))
    return found


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
    if len(training) < _FEWEST_WINDOWS:
        raise InvalidInput(
            f"too little history to train on: {len(training)} windows of "
            f"{recipe.input_size + recipe.horizon} unbroken candles before the held-out part, "
            f"at least {_FEWEST_WINDOWS} are needed; backfill more"
        )
    base = _random_walk(training) if recipe.target is Target.LOG_RETURN else _nothing(recipe)
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
        model.metrics = held_out_metrics(model, examples.of(HELD_OUT)) | {
            "network_weight": weight,
            "training_windows": float(len(training)),
            "validation_windows": float(len(validation)),
            "validation_loss": descent.best_loss,
            "best_step": float(descent.best_step),
            "steps_taken": float(descent.step),
            "training_seconds": time.perf_counter() - started,
        }
    finally:
        torch.set_num_threads(threads_before)
    return model


def _check(key: str, history: History, recipe: ForecasterRecipe) -> None:
    values = history.values
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise InvalidInput(f"{key}: row {int(bad[0])} holds no finite number; mend or remove it")
    if recipe.target is Target.LOG_RETURN and (values <= 0).any():
        row = int(np.flatnonzero(values <= 0)[0])
        raise InvalidInput(
            f"{key}: row {row} holds {values[row]:g}, and log returns need values above 0; "
            "take the target `value`, or mend the row"
        )
    if len(values) > 1 and (values == values[0]).all():
        raise InvalidInput(
            f"{key} never changes: all {len(values)} values are {values[0]:g}; there is nothing "
            "to learn from it, leave it out"
        )
    if recipe.exogenous and not history.known:
        raise InvalidInput(
            f"{key} comes without the volume and the sentiment trend that an exogenous recipe "
            "learns from; train without exogenous inputs"
        )


def _teaches(history: History, recipe: ForecasterRecipe, until_ms: int) -> bool:
    """Whether it has a whole training window."""
    length = recipe.input_size + recipe.horizon
    return any(
        stop - start >= length and history.ts_ms[start + length - 1] < until_ms
        for start, stop in history.stretches()
    )


def _random_walk(training: Examples) -> np.ndarray:
    base: np.ndarray = np.quantile(training.targets, QUANTILES, axis=0).T
    # The median of a random walk is where it stands: a past drift is no promise.
    base[:, _MEDIAN] = 0.0
    base.sort(axis=1)
    return base


def _nothing(recipe: ForecasterRecipe) -> np.ndarray:
    return np.zeros((recipe.horizon, len(QUANTILES)))
