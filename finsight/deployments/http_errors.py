"""Every error as an RFC 9457 problem, from one table.

Whatever goes wrong, the answer is `application/problem+json`: `type`, `title`,
`status`, `detail`, `instance`, and for a wrong request `errors`, one for each
field. Nothing of a traceback or of another process's address is in it.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from starlette.exceptions import HTTPException

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

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class TooBusy(FinSightError):
    """The platform takes no more of this kind of request just now."""


@dataclass(frozen=True)
class Kind:
    """What one kind of error becomes; `retry_after_s` where trying again may help."""

    error: type[BaseException]
    status: int
    slug: str
    title: str
    retry_after_s: int | None = None


# Most particular first: the first that fits is taken.
KINDS = (
    Kind(InvalidInput, 422, "invalid-input", "The request must change"),
    Kind(NotFound, 404, "not-found", "No such thing"),
    Kind(SourceBusy, 503, "source-busy", "An upstream asked us to slow down", 30),
    Kind(SourceUnavailable, 503, "source-unavailable", "An upstream does not answer", 10),
    Kind(SourceRefused, 502, "source-refused", "An upstream refused"),
    Kind(StoreUnavailable, 503, "store-unavailable", "Our storage does not answer", 5),
    Kind(ModelUnavailable, 503, "model-unavailable", "No model can answer now", 5),
    Kind(TooBusy, 503, "too-busy", "Too many requests at once", 2),
    Kind(Misconfigured, 500, "misconfigured", "A setting is wrong"),
    Kind(BackPressureError, 503, "too-busy", "Too many requests at once", 2),
    Kind(TimeoutError, 503, "timed-out", "It took too long", 5),
    Kind(RayServeException, 503, "part-unavailable", "A part of the platform is restarting", 5),
    Kind(RayError, 503, "part-unavailable", "A part of the platform is restarting", 5),
)
# What these say of themselves names processes and addresses, so it stays in the log.
_PLAIN_DETAIL: dict[type[BaseException], str] = {
    BackPressureError: "more requests are waiting than may wait; try again in a moment",
    TimeoutError: "a part of the platform did not answer in time; try again in a moment",
    RayServeException: "a part of the platform is not running yet; try again in a moment",
    RayError: "a part of the platform did not answer; it is being restarted",
}


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str = Field(examples=["body.texts.3"])
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:finsight:not-found",
                "title": "No such thing",
                "status": 404,
                "detail": "binance does not list BTC/EURO",
                "instance": "/v1/market/candles",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem] | None = None
    error_id: str | None = Field(default=None, description="of an unexpected error, in the log")


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=problem.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def unwrapped(error: BaseException) -> BaseException:
    """Return what was raised on the other side of a handle.

    There, an error arrives inside a RayTaskError that is also an instance of it,
    and whose text is the replica's whole traceback.
    """
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    return error


def error_as_problem(raised: BaseException, instance: str) -> tuple[Problem, dict[str, str]]:
    """Return the problem that `raised` becomes, and the headers to send with it."""
    error = unwrapped(raised)
    for kind in KINDS:
        if isinstance(error, kind.error):
            plain = _PLAIN_DETAIL.get(kind.error)
            if plain is not None:
                logger.warning("%s: %s", instance, error)
            problem = Problem(
                type=f"urn:finsight:{kind.slug}",
                title=kind.title,
                status=kind.status,
                detail=plain or str(error),
                instance=instance,
            )
            return problem, _retry_after(error, kind)
    error_id = uuid.uuid4().hex[:12]
    logger.error("unexpected error %s at %s", error_id, instance, exc_info=raised)
    problem = Problem(
        type="urn:finsight:unexpected",
        title="Something unexpected went wrong",
        status=500,
        detail=f"this is our mistake; the log has the reason under {error_id}",
        instance=instance,
        error_id=error_id,
    )
    return problem, {}


def _retry_after(error: BaseException, kind: Kind) -> dict[str, str]:
    asked = getattr(error, "retry_after_s", None)
    seconds = asked if isinstance(asked, int | float) else kind.retry_after_s
    return {} if seconds is None else {"Retry-After": str(max(1, round(seconds)))}


def add_error_handlers(app: FastAPI) -> None:
    """Make `app` answer every error as a problem."""

    async def on_error(request: Request, exc: Exception) -> JSONResponse:
        return problem_response(*error_as_problem(exc, request.url.path))

    async def on_validation(request: Request, exc: Exception) -> JSONResponse:
        assert isinstance(exc, RequestValidationError)
        return problem_response(_invalid_fields(exc.errors(), request.url.path))

    async def on_http(request: Request, exc: Exception) -> JSONResponse:
        assert isinstance(exc, HTTPException)
        return problem_response(_plain_http(exc, request), dict(exc.headers or {}))

    # RayTaskError comes first in the bases of what crosses a handle, so it is named itself.
    for kind in (FinSightError, RayError, RayServeException, TimeoutError, Exception):
        app.add_exception_handler(kind, on_error)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)


def _invalid_fields(errors: Sequence[Any], instance: str) -> Problem:
    fields = [
        FieldProblem(
            field=_field(error),
            message=_message(error),
        )
        for error in errors
    ]
    return Problem(
        type="urn:finsight:invalid-input",
        title="The request must change",
        status=422,
        detail="; ".join(f"{field.field}: {field.message}" for field in fields[:5]),
        instance=instance,
        errors=fields,
    )


def _field(error: Any) -> str:
    return "body" if error["type"] == "json_invalid" else ".".join(map(str, error["loc"]))


def _message(error: Any) -> str:
    if error["type"] == "json_invalid":
        return f"is not JSON: {error.get('ctx', {}).get('error', 'it can not be parsed')}"
    if error["type"] == "model_attributes_type" and error["loc"] == ("body",):
        return "should be a JSON object, sent with Content-Type: application/json"
    return str(error["msg"]).removeprefix("Value error, ")


def _plain_http(exc: HTTPException, request: Request) -> Problem:
    phrase = HTTPStatus(exc.status_code).phrase
    path = request.url.path
    details = {
        404: f"there is nothing at {path}; /docs lists what there is",
        405: f"{path} does not take {request.method}; /docs lists what it takes",
    }
    given = str(exc.detail)
    return Problem(
        type=f"urn:finsight:{phrase.lower().replace(' ', '-')}",
        title=phrase,
        status=exc.status_code,
        detail=details.get(exc.status_code, given) if given == phrase else given,
        instance=path,
    )


# For `responses=` of routes: what the documentation says of errors.
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": "The request is wrong"},
    "5XX": {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": "It can't be done now"},
}
