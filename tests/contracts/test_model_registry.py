"""What every model registry promises: on SQLite, and on a server with its files in a bucket."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import finsight
from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.domain.errors import NotFound, StoreUnavailable
from finsight.domain.promotion import CHALLENGER, CHAMPION, PromotionDecision, Verdict
from finsight.ports.models import REGISTRATION_TAG, ModelReference, ModelRegistry

KIND = "forecaster-1h"


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the tests that can share: making it takes MLflow seconds."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(params=["sqlite", pytest.param("server", marks=pytest.mark.long)])
def registry(request: pytest.FixtureRequest, shared_folder: Path) -> ModelRegistry:
    if request.param == "sqlite":
        return MlflowRegistry(None, shared_folder)
    server = request.getfixturevalue("mlflow_server")
    return MlflowRegistry(server.url, shared_folder / "nothing-is-kept-here")


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of the test's own."""
    return f"kind-{abs(hash(request.node.name))}"


def register(
    registry: ModelRegistry, kind: str, folder: Path, text: str, **tags: str
) -> ModelReference:
    source = folder / f"source-{text}"
    (source / "deep").mkdir(parents=True)
    (source / "weights.txt").write_text(text)
    (source / "deep" / "more.txt").write_text(text)
    return registry.register(
        kind,
        source,
        params={"steps": "300"},
        metrics={"mae": 0.5},
        tags={"model": "PatchTST", "data_fingerprint": "4f2a", **tags},
        history={"loss": [3.0, 2.0, 1.5]},
        pictures={"loss.png": b"\x89PNG picture"},
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
    assert second.metrics == {"mae": 0.5, "loss": 1.5}
    assert (second.tags["model"], second.tags["data_fingerprint"]) == ("PatchTST", "4f2a")
    assert second.tags["finsight_version"] == finsight.__version__
    assert registry.params(second) == {"steps": "300"}
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


def test_the_challenger_has_an_alias_of_its_own_that_can_be_taken_away(
    registry: ModelRegistry, kind: str, tmp_path: Path
) -> None:
    registry.set_alias(kind, CHALLENGER, None)
    first = register(registry, kind, tmp_path, "one")
    second = register(registry, kind, tmp_path, "two")
    registry.set_champion(kind, first.version)
    registry.set_alias(kind, CHALLENGER, second.version)
    assert registry.holder(kind, CHALLENGER) == second
    assert registry.holder(kind, CHAMPION) == first
    registry.set_alias(kind, CHALLENGER, None)
    registry.set_alias(kind, CHALLENGER, None)
    assert registry.holder(kind, CHALLENGER) is None
    assert registry.champion(kind) == first
    with pytest.raises(NotFound, match="no version 7"):
        registry.set_alias(kind, CHALLENGER, "7")


def test_decisions_are_kept_as_they_were_newest_first(
    registry: ModelRegistry, kind: str, tmp_path: Path
) -> None:
    assert registry.decisions(kind) == []
    made = [
        PromotionDecision(
            kind=kind,
            verdict=verdict,
            version=str(number),
            before=None if number == 1 else str(number - 1),
            by="ada@desk",
            reason="it's better: \"p = 0.01\", 'quoted'\nin two lines",
            decided_at=datetime(2024, 3, 1, tzinfo=UTC) + timedelta(microseconds=number),
            evidence={"pinball": 0.1 + 0.2, "cases": 240.0},
        )
        for number, verdict in enumerate((Verdict.FORCED, Verdict.REFUSED, Verdict.ROLLED_BACK), 1)
    ]
    for decision in made:
        registry.record(decision)
    registry.record(made[0].model_copy(update={"kind": f"{kind}-other"}))
    assert registry.decisions(kind) == made[::-1]
    assert registry.decisions(kind, limit=1) == made[-1:]
    assert {one.kind for one in registry.decisions()} >= {kind, f"{kind}-other"}
    assert kind not in {one.kind for one in registry.versions()}


def test_a_registration_that_is_tried_again_makes_one_version(
    registry: ModelRegistry, kind: str, tmp_path: Path
) -> None:
    first = register(registry, kind, tmp_path, "one", **{REGISTRATION_TAG: "r-1"})
    again = register(registry, kind, tmp_path, "two", **{REGISTRATION_TAG: "r-1"})
    assert again == first
    other = register(registry, kind, tmp_path, "three", **{REGISTRATION_TAG: "r-2"})
    assert [one.version for one in registry.versions(kind)] == [other.version, first.version]


def test_a_version_that_is_not_there_has_no_parameters(
    registry: ModelRegistry, kind: str, tmp_path: Path
) -> None:
    reference = register(registry, kind, tmp_path, "one")
    with pytest.raises(NotFound, match="no version 9"):
        registry.params(ModelReference(kind, "9", "", reference.created_at))


def test_files_come_back_whole_and_are_brought_once(
    registry: ModelRegistry, kind: str, tmp_path: Path
) -> None:
    reference = register(registry, kind, tmp_path, "one")
    folder = registry.fetch(reference, tmp_path / "models")
    assert (folder / "weights.txt").read_text() == "one"
    assert (folder / "deep" / "more.txt").read_text() == "one"
    assert "mlflow==" in (folder / "requirements.txt").read_text()
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


@pytest.mark.parametrize(
    ("kind", "tags", "inputs", "outputs"),
    [
        ("sentiment", {}, "['text': string (required)]", "'negative': double (required)"),
        (
            "forecaster-4h",
            {"input_candles": "48", "horizon": "12"},
            "'closes': Tensor('float64', (-1, 48))",
            "'quantiles': Tensor('float64', (-1, 12, 5))",
        ),
    ],
)
def test_mlflow_itself_reads_history_pictures_environment_and_signature(
    shared_folder: Path, tmp_path: Path, kind: str, tags: dict[str, str], inputs: str, outputs: str
) -> None:
    import mlflow

    registry = MlflowRegistry(None, shared_folder)
    reference = register(registry, kind, tmp_path, "one", **tags)
    uri = f"sqlite:///{shared_folder / 'mlflow.sqlite'}"
    client = mlflow.MlflowClient(uri, uri)
    run_id = client.get_model_version(kind, reference.version).run_id
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")] == [
        (1, 3.0),
        (2, 2.0),
        (3, 1.5),
    ]
    listed = {one.path for one in client.list_artifacts(run_id, "model")}
    assert {"model/MLmodel", "model/requirements.txt", "model/weights.txt"} <= listed
    assert [one.path for one in client.list_artifacts(run_id, "pictures")] == ["pictures/loss.png"]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["data_fingerprint"] == "4f2a"
    files = reference.location.removeprefix("file://")
    signature = mlflow.models.get_model_info(files).signature
    assert inputs in str(signature.inputs)
    assert outputs in str(signature.outputs)
