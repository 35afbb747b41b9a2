"""A search of recipes on a real Ray: budgets, early stops, the log, and what is refused."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.forecaster_recipe import Family
from finsight.domain.forecaster_search import TrialState
from finsight.domain.promotion import CHALLENGER
from finsight.settings import Settings
from finsight.training.search_session import Standing
from finsight.training.tune_forecaster import main, tune_forecaster
from finsight.wiring import open_model_registry
from tests.ray.searching import SHAPE, SMALL, request, slow, store_a_walk

# Ray, MLflow and Optuna read their own deprecated names.
pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::FutureWarning"),
    pytest.mark.timeout(300),
]


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    settings = Settings(data_dir=tmp_path / "data", forecasting=SHAPE)
    await store_a_walk(settings)
    return settings


def runs_of(settings: Settings) -> dict[str, list[Any]]:
    """What MLflow holds of searches: parents, and children by their state."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{settings.data_dir}/mlflow/mlflow.sqlite")
    experiment = client.get_experiment_by_name("finsight-searches")
    found: dict[str, list[Any]] = {"parents": [], "children": []}
    for run in client.search_runs([experiment.experiment_id]):
        is_child = "mlflow.parentRunId" in run.data.tags
        found["children" if is_child else "parents"].append(run)
    return found


def test_two_families_compete_and_the_best_is_the_challenger(
    ray_cluster: Any, settings: Settings
) -> None:
    seen: list[Standing] = []
    asked = request(families=("patchtst", "nhits"), values=SMALL, trials=5, exogenous=True)
    result = tune_forecaster(settings, asked, seen.append)
    assert len(result.records) == 5
    assert {record.recipe.family for record in result.records} == {Family.PATCHTST, Family.NHITS}
    assert {record.state for record in result.records} <= {
        TrialState.FINISHED,
        TrialState.STOPPED,
    }
    # PatchTST sees closes alone; the other one volume and sentiment too.
    assert all(
        record.recipe.exogenous == (record.recipe.family is Family.NHITS)
        for record in result.records
    )
    winner = result.winner
    assert winner is not None
    assert winner.best == min(record.best for record in result.records)
    # In naive's loss on the same windows: a network this young adds next to nothing to it.
    assert 0.8 < winner.best < 1.2
    registered = open_model_registry(settings).holder("forecaster-1h", CHALLENGER)
    assert registered is not None
    assert result.registered == registered
    assert registered.tags["search"] == result.plan.name
    assert registered.metrics["held_out_windows"] > 0
    assert any(standing.running for standing in seen)
    assert {path.name for path in result.pictures} == {
        "losses.png",
        "best-so-far.png",
        "parameters.png",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in result.pictures)
    runs = runs_of(settings)
    [parent] = runs["parents"]
    assert parent.data.tags["registered"] == f"forecaster-1h {registered.version}"
    assert {run.data.tags["mlflow.parentRunId"] for run in runs["children"]} == {parent.info.run_id}
    assert len(runs["children"]) == 5
    # Nothing of the held-out part is known of any trial; of the winner it is.
    assert not any("held_out" in name for run in runs["children"] for name in run.data.metrics)
    assert "held_out_ratio_to_naive" in parent.data.metrics

    again = tune_forecaster(settings, request(resume=result.plan.name, trials=None))
    assert again.records == result.records
    assert again.registered == registered
    assert len(runs_of(settings)["children"]) == 5


def test_hopeless_trials_are_stopped_and_refused_ones_do_not_end_the_search(
    ray_cluster: Any, settings: Settings
) -> None:
    values = (*request().values[:3], "learning_rate=0.001,0.01,0.9", *request().values[4:])
    result = tune_forecaster(settings, request(values=values, trials=9), teach=slow)
    assert len(result.records) == 9
    states = {record.state for record in result.records}
    assert states == {TrialState.FINISHED, TrialState.STOPPED, TrialState.FAILED}
    for record in result.records:
        assert (record.state is TrialState.FAILED) == (record.recipe.learning_rate == 0.01)
        if record.state is TrialState.FAILED:
            assert "this learning rate is refused" in record.reason
        if record.state is TrialState.STOPPED:
            assert 0 < record.step < record.recipe.steps
    assert result.winner is not None
    assert result.winner.recipe.learning_rate == 0.001


@pytest.mark.long
def test_ctrl_c_keeps_what_is_done_and_a_resume_does_the_rest(
    ray_cluster: Any, settings: Settings
) -> None:
    def interrupt(standing: Standing) -> None:
        if sum(record.state is not TrialState.OPEN for record in standing.records) >= 2:
            os.kill(os.getpid(), signal.SIGINT)

    once = threading.Event()
    first = tune_forecaster(
        settings,
        request(name="stopped"),
        lambda standing: None if once.is_set() else _once(interrupt, standing, once),
        slow,
    )
    assert first.interrupted
    assert [run.info.status for run in runs_of(settings)["parents"]] == ["KILLED"]
    assert first.registered is None
    ended = {r.number: r for r in first.records if r.state is not TrialState.OPEN}
    assert 2 <= len(ended) < 6
    second = tune_forecaster(settings, request(resume="stopped"), teach=slow)
    assert not second.interrupted
    assert [record.number for record in second.records] == [1, 2, 3, 4, 5, 6]
    assert {r.number: r for r in second.records if r.number in ended} == ended
    assert second.registered is not None
    with pytest.raises(InvalidInput, match="there is a search stopped already"):
        tune_forecaster(settings, request(name="stopped"))


def _once(interrupt: Any, standing: Standing, once: threading.Event) -> None:
    ended = sum(record.state is not TrialState.OPEN for record in standing.records)
    if ended >= 2:
        once.set()
        interrupt(standing)


@pytest.mark.long
def test_a_time_budget_ends_the_search(ray_cluster: Any, settings: Settings) -> None:
    started = time.monotonic()
    result = tune_forecaster(settings, request(trials=None, minutes=0.4), teach=slow)
    assert 20 < time.monotonic() - started < 90
    assert not result.interrupted
    assert result.winner is not None
    assert result.registered is not None
    spent = tune_forecaster(settings, request(resume=result.plan.name, trials=None), teach=slow)
    assert spent.records == result.records


def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing may be trained")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trials": 0}, "trials is 0; expected more than 0"),
        ({"minutes": -1.0}, "minutes is -1; expected more than 0"),
        ({"cpus": 99.0}, "a trial is to take 99 CPUs and this Ray cluster has 4"),
        ({"families": ("lstm",)}, "'lstm' is not a family of forecasters; known are patchtst"),
        ({"values": ("width=3",)}, "'width' is not a parameter of patchtst that is searched"),
        ({"values": ("heads=3", "hidden_size=16")}, "no combination of patchtst's values fits"),
        ({"values": ("patch_length=long",)}, "numbers with commas between"),
        ({"values": ("dropout=1.5",)}, "dropout can't be 1.5"),
        ({"exogenous": True}, "let nhits or tide compete"),
        ({"name": "../up"}, "can't be called '../up'"),
    ],
)
def test_what_can_not_be_searched_is_said_before_anything_is_trained(
    ray_cluster: Any, settings: Settings, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        tune_forecaster(settings, request(**changed), teach=_never)


def test_a_search_that_is_not_there_names_those_that_are(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotFound, match="none was begun here"):
        tune_forecaster(settings, request(resume="winter"))
    there = settings.data_dir / "searches" / "summer"
    there.mkdir(parents=True)
    (there / "plan.json").write_text(json.dumps({}))
    with pytest.raises(NotFound, match="did you mean summer"):
        tune_forecaster(settings, request(resume="sumer"))
    assert main(["--resume", "summer", "--data-dir", str(settings.data_dir)]) == 1
    assert "the search failed: " in capsys.readouterr().err


async def test_too_few_candles_are_told_with_how_many_there_are(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", forecasting=SHAPE)
    with pytest.raises(InvalidInput, match="no 1h series has the 200 candles"):
        await _in_thread(tune_forecaster, settings, request())
    await store_a_walk(settings, rows=150)
    with pytest.raises(InvalidInput, match="binance BTC/USDT 1h has 150"):
        await _in_thread(tune_forecaster, settings, request())


async def _in_thread(work: Any, *given: Any) -> Any:
    import asyncio

    return await asyncio.to_thread(work, *given)
