"""Every error becomes a problem that says what to do, and nothing else."""

import logging

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field
from ray.exceptions import ActorUnavailableError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from finsight.deployments.http_errors import TooBusy, add_error_handlers
from finsight.domain.errors import (
    FinSightError,
    InvalidInput,
    Misconfigured,
    ModelUnavailable,
    NotFound,
    SourceBusy,
    SourceRefused,
    SourceUnavailable,
    StoreUnavailable,
)


class Order(BaseModel):
    count: int = Field(ge=1)
    names: list[str]


def app_that_raises(error: Exception) -> FastAPI:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/raise")
    async def fail() -> None:
        raise error

    @app.post("/order")
    async def order(order: Order) -> None: ...

    return app


async def ask(error: Exception, method: str = "GET", path: str = "/raise", **request):
    transport = httpx.ASGITransport(app_that_raises(error), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://platform") as client:
        return await client.request(method, path, **request)


NOTHING = NotFound("unused")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("no"), 422),
        (NotFound("no"), 404),
        (SourceUnavailable("no"), 503),
        (SourceBusy("no"), 503),
        (SourceRefused("no"), 502),
        (StoreUnavailable("no"), 503),
        (ModelUnavailable("no"), 503),
        (TooBusy("no"), 503),
        (Misconfigured("no"), 500),
    ],
)
async def test_each_of_our_errors_has_its_status_and_keeps_its_words(
    error: FinSightError, status: int
):
    answer = await ask(error)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"] == "no"
    assert problem["instance"] == "/raise"
    assert problem["type"].startswith("urn:finsight:")
    assert problem["title"]


def test_the_table_knows_every_error_of_the_tree():
    from finsight.deployments.http_errors import KINDS

    missing = {kind for kind in FinSightError.__subclasses__() if kind.__module__ != __name__}
    known = {kind.error for kind in KINDS}
    ours = {kind for kind in missing if kind.__module__ == "finsight.domain.errors"}
    assert ours <= known


@pytest.mark.parametrize(
    "error", [SourceUnavailable("x"), StoreUnavailable("x"), ModelUnavailable("x"), TooBusy("x")]
)
async def test_an_error_that_passes_says_when_to_try_again(error: FinSightError):
    assert int((await ask(error)).headers["retry-after"]) >= 1


async def test_a_pause_that_an_upstream_asked_for_is_passed_on():
    answer = await ask(SourceBusy("slow down", retry_after_s=42.4))
    assert answer.headers["retry-after"] == "42"


async def test_an_error_across_a_handle_keeps_its_words_and_loses_its_traceback():
    crossed = RayTaskError(
        "score", "Traceback: pid=4711, ip=10.0.0.7", InvalidInput("text 3 is empty")
    ).as_instanceof_cause()
    answer = await ask(crossed)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "text 3 is empty"
    assert "4711" not in answer.text


async def test_a_foreign_error_across_a_handle_is_unexpected_and_is_not_shown():
    crossed = RayTaskError("score", "Traceback: secret", KeyError("secret")).as_instanceof_cause()
    answer = await ask(crossed)
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "error",
    [
        ActorUnavailableError("the actor at 10.0.0.7", None),
        TimeoutError("10.0.0.7"),
        BackPressureError(7, 5),
        DeploymentUnavailableError("10.0.0.7"),
    ],
)
async def test_a_part_that_restarts_is_a_503_without_addresses(error: Exception):
    answer = await ask(error)
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert "10.0.0.7" not in answer.text


async def test_an_unexpected_error_shows_an_id_that_the_log_has(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        answer = await ask(RuntimeError("the password is hunter2"))
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json()["error_id"] in caplog.text
    assert "hunter2" in caplog.text


async def test_a_wrong_body_names_each_wrong_field():
    answer = await ask(NOTHING, "POST", "/order", json={"count": 0, "names": ["a", 5]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert {problem["field"] for problem in answer.json()["errors"]} == {
        "body.count",
        "body.names.1",
    }


async def test_a_body_that_is_not_json_is_a_problem():
    answer = await ask(NOTHING, "POST", "/order", content=b"{")
    assert answer.status_code == 422
    assert answer.json()["errors"]


async def test_an_unknown_route_is_a_problem():
    answer = await ask(NOTHING, "GET", "/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "/nowhere" in answer.json()["detail"]


async def test_a_wrong_method_is_a_problem_that_names_the_right_one():
    answer = await ask(NOTHING, "POST", "/raise")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert "GET" in answer.headers["allow"]
