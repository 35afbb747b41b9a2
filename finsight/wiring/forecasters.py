"""Settings to forecasters: trained, saved, read, judged beside naive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finsight.settings import Settings
from finsight.wiring.registry import open_model_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from finsight.domain.candle_table import CandleTable
    from finsight.domain.forecast_windows import Examples
    from finsight.domain.forecaster_plan import TrainingPlan
    from finsight.domain.forecaster_recipe import ForecasterRecipe
    from finsight.domain.timeframe import Timeframe
    from finsight.ports.models import (
        Forecaster,
        ModelReference,
        TrainedForecaster,
        TrainingProgress,
    )
    from finsight.ports.news import KnownSentiment


def load_forecaster(settings: Settings, kind: str) -> Forecaster | None:
    """Load the registry's champion of `kind` ("forecaster-1h"), or None when there is none."""
    reference = open_model_registry(settings).champion(kind)
    return None if reference is None else read_forecaster(settings, reference)


def naive_forecaster() -> Forecaster:
    """The baseline, and the last resort."""
    from finsight.adapters.models.naive_forecaster import NaiveForecaster

    return NaiveForecaster()


def read_forecaster(settings: Settings, reference: ModelReference) -> Forecaster:
    """Load one version of a forecaster. Raises: StoreUnavailable, ModelUnavailable."""
    from finsight.adapters.models.neural_forecaster import NeuralForecaster

    folder = open_model_registry(settings).fetch(reference, settings.data_dir / "models")
    return calibrated(NeuralForecaster.load(folder, version=reference.version))


def calibrated(model: Forecaster) -> Forecaster:
    """The same forecaster with intervals as wide as its past errors: what serves."""
    from finsight.adapters.models.conformal_forecaster import ConformalForecaster

    return ConformalForecaster(model)


def recipe_of(settings: Settings, reference: ModelReference) -> ForecasterRecipe:
    """How a version was trained. Raises: StoreUnavailable, ModelUnavailable."""
    from finsight.adapters.models.neural_forecaster import NeuralForecaster

    folder = open_model_registry(settings).fetch(reference, settings.data_dir / "models")
    return NeuralForecaster.load(folder, version=reference.version).config.recipe


def prepare_forecasters() -> None:
    """Import what reading a forecaster takes (seconds), ahead of the first one."""
    from finsight.adapters.models.forecast_network import import_neuralforecast
    from finsight.adapters.models.mlflow_connection import import_mlflow

    import_neuralforecast()
    import_mlflow()


def default_recipe(settings: Settings) -> ForecasterRecipe:
    """The recipe that the settings stand for."""
    from finsight.domain.forecaster_recipe import ForecasterRecipe

    forecasting = settings.forecasting
    return ForecasterRecipe(
        input_size=forecasting.input_candles,
        horizon=forecasting.horizon,
        steps=forecasting.train_steps,
        patch_length=min(24, forecasting.input_candles),
    )


def open_trained(
    folder: Path, metrics: Mapping[str, float], history: Mapping[str, Sequence[float]]
) -> TrainedForecaster:
    """Load a forecaster that another process saved in `folder`. Raises: ModelUnavailable."""
    from finsight.adapters.models.neural_forecaster import NeuralForecaster

    return NeuralForecaster.load(folder, "unregistered", metrics, history)


def learn_forecaster(
    plan: TrainingPlan,
    windows: Sequence[Examples],
    *,
    progress: TrainingProgress | None = None,
    checked: Callable[[int, float], bool] | None = None,
    state_folder: Path | None = None,
) -> TrainedForecaster:
    """Turn windows, in the order of the plan's segments, into a model; see `fit_forecaster`.

    Raises: InvalidInput, StoreUnavailable (the state can't be written).
    """
    from finsight.adapters.models.neural_training import learn

    return learn(plan, windows, progress=progress, checked=checked, state_folder=state_folder)


def fit_forecaster(
    settings: Settings,
    timeframe: Timeframe,
    candles: Mapping[str, CandleTable],
    recipe: ForecasterRecipe | None = None,
    *,
    progress: TrainingProgress | None = None,
    checked: Callable[[int, float], bool] | None = None,
    sentiment: Mapping[str, Sequence[KnownSentiment]] | None = None,
    state_folder: Path | None = None,
) -> TrainedForecaster:
    """Train one model over `candles`, by series key, by `recipe` or as the settings say.

    `checked(step, validation_loss)` is called every `recipe.check_every` steps; True ends
    the training. `sentiment`, by series key, is what an exogenous recipe learns from
    besides. `state_folder` keeps the state at each check: a later call goes on from it.

    Raises: InvalidInput (too little unbroken history).
    """
    from finsight.adapters.models.neural_training import fit_neural
    from finsight.domain.history import History

    recipe = recipe or default_recipe(settings)
    known = sentiment or {}
    histories = {
        key: History.of_candles(table, timeframe, known.get(key, ()) if recipe.exogenous else None)
        for key, table in candles.items()
    }
    return fit_neural(
        histories,
        recipe,
        str(timeframe),
        progress=progress,
        checked=checked,
        state_folder=state_folder,
    )


def standing_loss(plan: TrainingPlan, windows: Sequence[Examples]) -> float:
    """Return what naive's validation loss is on these windows. Raises: InvalidInput."""
    from finsight.adapters.models.standing_loss import standing_loss as loss

    return loss(plan, windows)
