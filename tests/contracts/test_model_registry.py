"""What every model registry promises."""

import threading
from pathlib import Path

import pytest

from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.domain.errors import NotFound, StoreUnavailable
from finsight.ports.models import ModelReference, ModelRegistry

KIND = "forecaster-1h"


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the tests that can share: making it takes MLflow seconds."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def registry(shared_folder: Path) -> ModelRegistry:
    return MlflowRegistry(None, shared_folder)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of the test's own."""
    return f"kind-{abs(hash(request.node.name))}"


def register(registry: ModelRegistry, kind: str, folder: Path, text: str) -> ModelReference:
    source = folder / f"source-{text}"
    (source / "deep").mkdir(parents=True)
    (source / "weights.txt").write_text(text)
    (source / "deep" / "more.txt").write_text(text)
    return registry.register(
        kind, source, params={"steps": "300"}, metrics={"mae": 0.5}, tags={"model": "PatchTST"}
    )


def test_an_empty_registry_answers_without_making_anything(tmp_path: Path) -> None:
    registry = MlflowRegistry(None, tmp_path / "none")
    assert registry.champion(KIND) is None
    assert registry.versions() == []
    with pytest.raises(NotFound, match="no model is registered"):
        registry.set_champion(KIND, "1")
    assert not (tmp_path / "none").exists()


def test_versions_count_up_and_keep_what_was_said_of_them(
    registry: ModelRegistry, kind: str, tmp_path: Path
) -> None:
    first = register(registry, kind, tmp_path, "one")
    second = register(registry, kind, tmp_path, "two")
    assert (first.version, second.version) == ("1", "2")
    assert [one.version for one in registry.versions(kind)] == ["2", "1"]
    assert registry.versions(kind)[0] == second
    assert second.metrics == {"mae": 0.5}
    assert second.tags["model"] == "PatchTST"
    assert {one.kind for one in registry.versions()} >= {kind}


def test_the_alias_decides_who_is_champion(
    registry: ModelRegistry, kind: str, tmp_path: Path
) -> None:
    assert registry.champion(kind) is None
    first = register(registry, kind, tmp_path, "one")
    second = register(registry, kind, tmp_path, "two")
    assert registry.champion(kind) is None
    registry.set_champion(kind, second.version)
    assert registry.champion(kind) == second
    registry.set_champion(kind, first.version)
    assert registry.champion(kind) == first


def test_a_version_that_is_not_there_cannot_be_champion(
    registry: ModelRegistry, kind: str, tmp_path: Path
) -> None:
    register(registry, kind, tmp_path, "one")
    for missing in ("2", "99"):
        with pytest.raises(NotFound, match=f"no version {missing}"):
            registry.set_champion(kind, missing)
    with pytest.raises(NotFound):
        registry.set_champion(f"{kind}-other", "1")


def test_files_come_back_whole_and_are_brought_once(
    registry: ModelRegistry, kind: str, tmp_path: Path
) -> None:
    reference = register(registry, kind, tmp_path, "one")
    folder = registry.fetch(reference, tmp_path / "models")
    assert (folder / "weights.txt").read_text() == "one"
    assert (folder / "deep" / "more.txt").read_text() == "one"
    (folder / "weights.txt").write_text("ours")
    assert registry.fetch(reference, tmp_path / "models") == folder
    assert (folder / "weights.txt").read_text() == "ours"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_two_registries_opened_at_once_make_one_database(tmp_path: Path) -> None:
    made: list[ModelReference] = []

    def work(number: int) -> None:
        registry = MlflowRegistry(None, tmp_path / "mlflow")
        made.append(register(registry, KIND, tmp_path, str(number)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.version for one in made) == ["1", "2"]


def test_a_database_that_is_none_is_a_store_that_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "mlflow.sqlite").write_text("this is not a database, whatever its name says")
    with pytest.raises(StoreUnavailable, match="model registry"):
        MlflowRegistry(None, tmp_path).champion(KIND)
