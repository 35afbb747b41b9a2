"""What the unit tests share: MLflow's database, made once, for it takes MLflow seconds."""

import shutil
from pathlib import Path

import pytest

from finsight.adapters.models.mlflow_connection import MlflowConnection


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database that holds nothing."""
    folder = tmp_path_factory.mktemp("empty-mlflow")
    MlflowConnection(None, folder).open()
    return folder


@pytest.fixture
def mlflow_folder(empty_mlflow: Path, settings: object, tmp_path: Path) -> Path:
    """The folder of the test's own registry, where `settings` look for it: copied, not made."""
    folder = tmp_path / "data" / "mlflow"
    shutil.copytree(empty_mlflow, folder)
    return folder
