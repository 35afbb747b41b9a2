"""One trial of a search: a recipe trained in a process of Ray's, reporting on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from finsight.domain.errors import FinSightError
from finsight.domain.forecast_windows import make_examples
from finsight.domain.forecaster_plan import plan_training, segments
from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.ports.models import TrainedForecaster
from finsight.training.forecaster_data import TrainingData
from finsight.training.recipe_searcher import METRIC, TIME
from finsight.wiring import learn_forecaster, standing_loss

FINISHED, REFUSED = "finished", "refused"

Teach = Callable[
    [TrainingData, ForecasterRecipe, Callable[[int, float], None], Path], TrainedForecaster
]


def teach(
    data: TrainingData,
    recipe: ForecasterRecipe,
    report: Callable[[int, float], None],
    state_folder: Path,
) -> TrainedForecaster:
    """Train by `recipe`; each check is reported as a step and a loss beside naive's.

    The loss is the validation loss in naive's on the same windows: 1 is as good as naive,
    and recipes whose windows differ in length can be compared.

    Raises: InvalidInput, StoreUnavailable.
    """
    plan = plan_training(data.histories, recipe, str(data.timeframe), data.splits)
    windows = [make_examples(segment, plan.shape) for segment in segments(data.histories, plan)]
    naive = standing_loss(plan, windows)

    def checked(step: int, loss: float) -> bool:
        report(step, loss / naive)
        return False

    return learn_forecaster(plan, windows, checked=checked, state_folder=state_folder)


def run_trial(config: dict[str, Any], data: TrainingData, teach: Teach) -> None:
    """Train one recipe in a process of Ray's, reporting at every check."""
    last = {TIME: 0, METRIC: math.nan}

    def report(step: int, loss: float) -> None:
        last.update({TIME: step, METRIC: loss})
        tune.report(dict(last))

    try:
        teach(data, ForecasterRecipe(**config["recipe"]), report, Path(config["state_folder"]))
    except FinSightError as exc:
        # Another try would end the same way.
        tune.report({**last, REFUSED: str(exc)})
        return
    tune.report({**last, FINISHED: True})
