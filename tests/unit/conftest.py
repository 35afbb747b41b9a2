"""What the unit tests share: MLflow's database and a trained model, made once, and a command."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finsight.adapters.models.mlflow_connection import MlflowConnection
from finsight.commands.application import app
from finsight.domain.errors import FinSightError
from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.timeframe import Timeframe
from finsight.settings import Settings
from finsight.wiring import fit_forecaster
from tests.builders import BTC_HOURLY, a_tide
from tests.unit.backtest_printing import Backtest


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


@pytest.fixture(scope="session")
def tidal_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a real PatchTST that knows the tide: trained once, it takes seconds."""
    folder = tmp_path_factory.mktemp("tidal") / "model"
    recipe = ForecasterRecipe(input_size=48, horizon=12, steps=60, check_every=30)
    candles = {BTC_HOURLY.key: a_tide(1100)}
    model = fit_forecaster(Settings(), Timeframe.H1, candles, recipe)
    model.save(folder)
    (folder.parent / "trained_until").write_text(model.trained_until.isoformat())
    return folder


@pytest.fixture
def backtest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Backtest:
    """Run `finsight backtest …` with a data folder of the test's own; return what it printed."""
    monkeypatch.setenv("FINSIGHT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "160")

    def run_command(*arguments: str, code: int = 0) -> str:
        outcome = CliRunner().invoke(app, ["backtest", *arguments])
        if isinstance(outcome.exception, FinSightError):
            raise outcome.exception
        assert outcome.exit_code == code, (outcome.output, outcome.exception)
        return outcome.stdout

    return run_command
