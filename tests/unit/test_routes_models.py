"""The routes of models: a real registry, stored candles, a real PatchTST."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.domain.labelled_texts import SEEN_FILE, seen_mark
from tests.builders import BTC_HOURLY, a_tide
from tests.tiny_classifier import save_tiny_classifier
from tests.unit.http_platform import running
from tests.unit.test_model_commands import KIND, register


@pytest.fixture
async def platform(settings, mlflow_folder):
    async with running(settings) as platform:
        await platform.ports.candles.upsert(BTC_HOURLY, a_tide(1100))
        platform.clock.moment = datetime(2024, 2, 15, 20, tzinfo=UTC)
        yield platform


async def test_a_version_is_compared_promoted_refused_and_rolled_back(
    platform, mlflow_folder: Path, tidal_model: Path
):
    client = platform.client
    for _ in range(2):
        register(mlflow_folder, tidal_model)
    compared = (await client.post(f"/v1/models/{KIND}/1/compare", json={})).json()
    assert compared["is_better"]
    assert [one["rival"] for one in compared["comparison"]["rivals"]] == ["naive", "naive"]
    assert (await client.get("/v1/models/decisions")).json() == {"decisions": []}
    promoted = await client.post(f"/v1/models/{KIND}/1/promote", json={"by": "ada"})
    assert promoted.status_code == 200
    assert promoted.json()["verdict"] == "promoted"
    refused = await client.post(f"/v1/models/{KIND}/2/promote", json={"by": "ada"})
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["type"] == "urn:finsight:promotion-refused"
    assert "not better than version 1" in problem["detail"]
    assert problem["decision"]["evidence"]["pinball"] > 0
    listed = (await client.get("/v1/models", params={"kind": KIND})).json()["models"]
    assert [one["aliases"] for one in listed] == [[], ["champion"]]
    body = {"by": "ada", "force": True, "reason": "a rehearsal"}
    forced = await client.post(f"/v1/models/{KIND}/2/promote", json=body)
    assert forced.json()["verdict"] == "forced"
    back = await client.post(
        f"/v1/models/{KIND}/rollback", json={"by": "ada", "reason": "it is over"}
    )
    assert (back.json()["verdict"], back.json()["version"]) == ("rolled back", "1")
    decisions = (await client.get("/v1/models/decisions", params={"limit": 2})).json()["decisions"]
    assert [one["verdict"] for one in decisions] == ["rolled back", "forced"]
    shown = (await client.get(f"/v1/models/{KIND}/2")).json()
    assert shown["params"]["steps"] == "60"
    assert len(shown["decisions"]) == 3


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentiment model with a head that nobody taught, and the list of what it has seen."""
    folder = save_tiny_classifier(tmp_path_factory.mktemp("untaught"))
    (folder / SEEN_FILE).write_text(seen_mark("Bitcoin number 0 surges to a record"))
    return folder


async def test_a_sentiment_model_is_held_against_what_serves_on_the_texts_of_the_request(
    platform, mlflow_folder: Path, untaught: Path
):
    MlflowRegistry(None, mlflow_folder).register(
        "sentiment", untaught, params={}, metrics={}, tags={"model": "untaught"}
    )
    said = {"positive": "surges to a record", "negative": "crashes on fraud"}
    texts = [
        {"text": f"Bitcoin number {row} {words}", "label": label}
        for label, words in said.items()
        for row in range(60)
    ]
    post, version = platform.client.post, "/v1/models/sentiment/1"
    compared = (await post(f"{version}/compare", json={"texts": texts})).json()
    assert not compared["is_better"]
    assert compared["comparison"]["figures"]["texts"] == 119  # It has seen one of them.
    refused = await post(f"{version}/promote", json={"by": "ada", "texts": texts})
    assert refused.status_code == 409
    assert "not better than compact" in refused.json()["detail"]
    none = await post(f"{version}/promote", json={"by": "ada"})
    assert none.status_code == 422
    force = {"by": "ada", "texts": texts, "force": True, "reason": "a rehearsal"}
    assert (await post(f"{version}/promote", json=force)).json()["verdict"] == "forced"
    [card] = (await platform.client.get("/v1/models", params={"kind": "sentiment"})).json()[
        "models"
    ]
    assert card["aliases"] == ["champion"]


async def test_what_is_not_there_is_not_found(platform):
    assert (await platform.client.get("/v1/models")).json() == {"models": []}
    for answer in (
        await platform.client.get(f"/v1/models/{KIND}/1"),
        await platform.client.post(f"/v1/models/{KIND}/1/compare", json={}),
        await platform.client.post(f"/v1/models/{KIND}/1/promote", json={"by": "ada"}),
        await platform.client.post(
            f"/v1/models/{KIND}/rollback", json={"by": "ada", "reason": "why not"}
        ),
    ):
        assert answer.status_code == 404, answer.text
    assert answer.json()["detail"] == f"no {KIND} version serves: there is nothing to roll back"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/v1/models/{KIND}/1/promote", {}),
        (f"/v1/models/{KIND}/1/promote", {"by": ""}),
        (f"/v1/models/{KIND}/1/promote", {"by": "ada", "on": "/etc/passwd"}),
        (f"/v1/models/{KIND}/first/promote", {"by": "ada"}),
        (f"/v1/models/{KIND}'/1/promote", {"by": "ada"}),
        (f"/v1/models/{KIND}/rollback", {"by": "ada", "reason": ""}),
        ("/v1/models/sentiment/1/compare", {"texts": [{"text": "x", "label": "good"}]}),
        ("/v1/models/sentiment/1/compare", {"texts": [{"text": "x", "label": "neutral"}] * 2001}),
    ],
)
async def test_a_wrong_request_is_refused(platform, path, body):
    answer = await platform.client.post(path, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"]


async def test_a_forced_promotion_needs_a_reason(platform, mlflow_folder, tidal_model):
    register(mlflow_folder, tidal_model)
    answer = await platform.client.post(
        f"/v1/models/{KIND}/1/promote", json={"by": "ada", "force": True}
    )
    assert answer.status_code == 422
    assert "say why" in answer.json()["detail"]
