"""For operators: is it up, is it ready, and what was given up on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

import finsight
from finsight.deployments.http_ports import HttpPorts, Ports
from finsight.domain.health import PartHealth, PartState
from finsight.services.readiness import check_readiness

probes = APIRouter(tags=["operations"])
router = APIRouter(prefix="/operations", tags=["operations"])


class HealthAnswer(BaseModel):
    status: str


class ReadyAnswer(BaseModel):
    """Ready: no essential part is starting or failed. Degraded: some part is less than well."""

    ready: bool
    degraded: bool
    version: str
    time: datetime
    parts: list[PartHealth]


class DeadLetterAnswer(BaseModel):
    """An event that a group failed to handle five times."""

    id: str
    group: str
    event_json: str
    error: str
    failed_at: datetime


class DeadLetterList(BaseModel):
    count: int
    dead_letters: list[DeadLetterAnswer]


class Resent(BaseModel):
    """The id under which the event was published again."""

    event_id: str


@probes.get("/healthz", response_model=HealthAnswer)
async def is_up() -> Response:
    """The process answers. Says nothing of what it needs: see /readyz."""
    return Response(b'{"status":"ok"}', media_type="application/json")


@probes.get(
    "/readyz",
    response_model=ReadyAnswer,
    responses={503: {"model": ReadyAnswer, "description": "An essential part starts or failed"}},
)
async def is_ready(ports: Ports) -> Response:
    """Each part, its state, the age of its data; 503 while an essential one starts or failed.

    A collector is not essential: one that starts, is late or has failed makes the
    platform `degraded`, and everything else is served.
    """

    async def candles() -> Sequence[PartHealth]:
        await ports.candles.list_series()
        return [PartHealth(part="store:candles", state=PartState.OK)]

    async def articles() -> Sequence[PartHealth]:
        return [await _articles_health(ports)]

    async def bus() -> Sequence[PartHealth]:
        await ports.bus.get().ping()
        return [PartHealth(part="store:events", state=PartState.OK)]

    readiness = await check_readiness(
        {
            "supervisor": ports.platform.health,
            "deployments": ports.platform.served,
            "store:candles": candles,
            "store:articles": articles,
            "store:events": bus,
        }
    )
    answer = ReadyAnswer(
        ready=readiness.ready,
        degraded=readiness.degraded,
        version=finsight.__version__,
        time=ports.clock.now(),
        parts=list(readiness.parts),
    )
    return JSONResponse(answer.model_dump(mode="json"), 200 if readiness.ready else 503)


@router.get("/dead-letters")
async def list_dead_letters(
    ports: Ports, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> DeadLetterList:
    """Events that failed five times, newest first, with the reason."""
    bus = ports.bus.get()
    letters = await bus.dead_letters(limit)
    return DeadLetterList(
        count=await bus.count_dead_letters(),
        dead_letters=[DeadLetterAnswer(**vars(letter)) for letter in letters],
    )


@router.post("/dead-letters/{dead_letter_id}/resend")
async def resend_dead_letter(
    ports: Ports,
    dead_letter_id: Annotated[
        str, Path(pattern=r"^[0-9A-Za-z:._-]{1,100}$", description="the letter's id")
    ],
) -> Resent:
    """Give the event to its group again, once its cause is mended."""
    return Resent(event_id=await ports.bus.get().resend(dead_letter_id))


async def _articles_health(ports: HttpPorts) -> PartHealth:
    newest = max((s.newest for s in await ports.articles.sources() if s.newest), default=None)
    age_s = max(0.0, (ports.clock.now() - newest).total_seconds()) if newest else None
    return PartHealth(part="store:articles", state=PartState.OK, newest_at=newest, age_s=age_s)
