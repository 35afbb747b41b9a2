"""Settings to where models, their runs and their searches are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finsight.settings import Settings

if TYPE_CHECKING:
    from finsight.adapters.models.unsent_runs import UnsentRuns
    from finsight.ports.experiments import ExperimentLog
    from finsight.ports.models import (
        ModelRegistry,
    )


def open_model_registry(settings: Settings) -> ModelRegistry:
    """The registry. A run that it can't take is kept, and `register` raises RunKept."""
    from finsight.adapters.models.unsent_runs import KeepingRegistry

    place = settings.data_dir / "mlflow"
    return KeepingRegistry(settings.mlflow_tracking_uri, place, open_unsent_runs(settings))


def open_unsent_runs(settings: Settings) -> UnsentRuns:
    """The runs that wait for the registry, below the data folder."""
    from finsight.adapters.models.unsent_runs import UnsentRuns

    return UnsentRuns(settings.data_dir / "unsent")


def open_experiment_log(settings: Settings) -> ExperimentLog:
    from finsight.adapters.models.mlflow_experiments import MlflowExperiments

    return MlflowExperiments(settings.mlflow_tracking_uri, settings.data_dir / "mlflow")
