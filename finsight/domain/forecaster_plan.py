"""What a training settles before its first window: the parts in time, and the scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from finsight.domain.errors import InvalidInput
from finsight.domain.fitted_scale import FittedScale
from finsight.domain.forecast_windows import Segment, WindowShape, cut_segments, known_columns
from finsight.domain.forecaster_recipe import ForecasterRecipe, Target
from finsight.domain.history import History, fingerprint
from finsight.domain.time_splits import TimeSplits, split_by_share

FEWEST_WINDOWS = 32
"""Of the training part: with fewer nothing is learnt."""


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
            f"before the held-out part, at least {FEWEST_WINDOWS} are needed; the longest "
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
