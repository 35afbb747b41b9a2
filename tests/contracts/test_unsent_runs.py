"""Runs that MLflow could not take: kept here, sent later, neither lost nor registered twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.adapters.models.unsent_runs import KeepingRegistry, UnsentRuns
from finsight.domain.errors import InvalidInput, RunKept, StoreUnavailable
from finsight.domain.promotion import CHALLENGER
from finsight.ports.models import ModelReference
from tests.mlflow_server import MlflowServer

KIND = "forecaster-1h"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.txt").write_text("weights")
    (folder / "deep" / "more.txt").write_text("more")
    return folder


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one registry on SQLite."""
    return tmp_path_factory.mktemp("mlflow")


def train(registry: MlflowRegistry, model: Path, kind: str = KIND) -> ModelReference:
    """What a training does at its end."""
    return registry.register(
        kind,
        model,
        params={"steps": "300"},
        metrics={"mae": 0.5},
        tags={"model": "PatchTST"},
        history={"loss": [2.0, 1.0]},
        pictures={"loss.png": b"png"},
    )


def test_a_run_is_kept_whole_and_sent_whole(tmp_path: Path, model: Path, database: Path) -> None:
    unsent = UnsentRuns(tmp_path / "unsent")
    with pytest.raises(RunKept, match=r"not lost: it is kept in .*finsight models send"):
        train(KeepingRegistry(NOWHERE, tmp_path, unsent), model, "kept-whole")
    [waiting] = unsent.waiting()
    assert waiting.tags["finsight_version"]
    registry = MlflowRegistry(None, database)
    [sent] = list(unsent.send(registry))
    assert sent.id == waiting.id
    reference = sent.reference
    assert reference is not None
    assert registry.versions("kept-whole") == [reference]
    assert registry.holder("kept-whole", CHALLENGER) == reference
    assert reference.metrics == {"mae": 0.5, "loss": 1.0}
    assert reference.tags["model"] == "PatchTST"
    assert registry.params(reference) == {"steps": "300"}
    fetched = registry.fetch(reference, tmp_path / "fetched")
    assert (fetched / "deep" / "more.txt").read_text() == "more"
    assert "mlflow==" in (fetched / "requirements.txt").read_text()
    assert unsent.waiting() == []
    assert list(unsent.send(registry)) == []


def test_a_challenger_that_was_trained_later_keeps_its_place(
    tmp_path: Path, model: Path, database: Path
) -> None:
    unsent = UnsentRuns(tmp_path / "unsent")
    with pytest.raises(RunKept):
        train(KeepingRegistry(NOWHERE, tmp_path, unsent), model, "late")
    registry = MlflowRegistry(None, database)
    newer = train(registry, model, "late")
    registry.set_alias("late", CHALLENGER, newer.version)
    [sent] = list(unsent.send(registry))
    assert sent.reference is not None
    holder = registry.holder("late", CHALLENGER)
    assert holder is not None
    assert (sent.reference.version, holder.version) == ("2", newer.version)


def test_while_the_registry_is_down_everything_waits(tmp_path: Path, model: Path) -> None:
    unsent = UnsentRuns(tmp_path / "unsent")
    for _ in range(2):
        with pytest.raises(RunKept):
            train(KeepingRegistry(NOWHERE, tmp_path, unsent), model)
    before = [run.id for run in unsent.waiting()]
    with pytest.raises(StoreUnavailable):
        list(unsent.send(MlflowRegistry(NOWHERE, tmp_path)))
    assert [run.id for run in unsent.waiting()] == before
    assert len(before) == 2


def test_a_broken_run_is_told_and_keeps_no_other(
    tmp_path: Path, model: Path, database: Path
) -> None:
    unsent = UnsentRuns(tmp_path / "unsent")
    with pytest.raises(RunKept):
        train(KeepingRegistry(NOWHERE, tmp_path, unsent), model, "beside-a-broken-one")
    (tmp_path / "unsent" / "0-broken").mkdir()
    (tmp_path / "unsent" / "0-broken" / "run.json").write_text("{half")
    broken, sent = unsent.send(MlflowRegistry(None, database))
    assert broken.reference is None
    assert "run.json" in broken.problem
    assert sent.reference is not None
    assert (tmp_path / "unsent" / "0-broken").is_dir()


def test_a_full_disk_on_this_side_too_is_said(tmp_path: Path, model: Path) -> None:
    # What can't be a folder takes no files, whoever the user is.
    (tmp_path / "unsent").write_text("a file, where the folder would be")
    unsent = UnsentRuns(tmp_path / "unsent")
    with pytest.raises(StoreUnavailable, match="can't be kept here either") as told:
        train(KeepingRegistry(NOWHERE, tmp_path, unsent), model)
    assert not isinstance(told.value, RunKept)


def test_two_do_not_send_at_once(tmp_path: Path, model: Path, database: Path) -> None:
    unsent = UnsentRuns(tmp_path / "unsent")
    with pytest.raises(RunKept):
        train(KeepingRegistry(NOWHERE, tmp_path, unsent), model, "one-sender")
    registry = MlflowRegistry(None, database)
    first = unsent.send(registry)
    assert next(first).reference is not None
    with pytest.raises(InvalidInput, match="being sent already"):
        list(UnsentRuns(tmp_path / "unsent").send(registry))
    assert list(first) == []


STOPS_AT = {
    "its files are there, its version is not": "_ensure_kind",
    "its version is there, the answer is not": "_reference",
}


@pytest.mark.parametrize("method", STOPS_AT.values(), ids=STOPS_AT.keys())
def test_a_sender_that_is_killed_loses_nothing_and_doubles_nothing(
    tmp_path: Path, model: Path, database: Path, method: str
) -> None:
    kind = f"killed-at{method}"
    unsent = UnsentRuns(tmp_path / "unsent")
    with pytest.raises(RunKept):
        train(KeepingRegistry(NOWHERE, tmp_path, unsent), model, kind)
    sender = f"""
import time
from pathlib import Path
from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.adapters.models.unsent_runs import UnsentRuns

class Stopping(MlflowRegistry):
    def {method}(self, *given):
        print("here", flush=True)
        time.sleep(60)

list(UnsentRuns(Path({str(tmp_path / "unsent")!r})).send(Stopping(None, Path({str(database)!r}))))
"""
    process = subprocess.Popen([sys.executable, "-c", sender], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "here\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    registry = MlflowRegistry(None, database)
    assert len(unsent.waiting()) == 1
    assert len(registry.versions(kind)) == (1 if method == "_reference" else 0)
    [sent] = list(unsent.send(registry))
    assert [one.version for one in registry.versions(kind)] == ["1"]
    assert sent.reference == registry.versions(kind)[0]
    assert unsent.waiting() == []


@pytest.mark.long
def test_a_server_that_stops_before_a_training_ends_gets_its_run_later(
    tmp_path: Path, model: Path, mlflow_server: MlflowServer
) -> None:
    kind, unsent = "stopped-meanwhile", UnsentRuns(tmp_path / "unsent")
    registry = KeepingRegistry(mlflow_server.url, tmp_path / "mlflow", unsent)
    first = train(registry, model, kind)
    mlflow_server.stop()
    with pytest.raises(RunKept, match="did not answer"):
        train(registry, model, kind)
    with pytest.raises(StoreUnavailable):
        list(unsent.send(registry))
    mlflow_server.start()
    assert registry.versions(kind) == [first]
    [sent] = list(unsent.send(registry))
    assert sent.reference is not None
    assert sent.reference.version == "2"
    assert unsent.waiting() == []
    assert [one.version for one in registry.versions(kind)] == ["2", "1"]
