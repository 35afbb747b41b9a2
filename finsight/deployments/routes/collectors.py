"""What is collected: listed, added, started, stopped, changed, removed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

from finsight.deployments.http_ports import HttpPorts, Ports
from finsight.domain.collector import Collector
from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.health import PartHealth

router = APIRouter(prefix="/collectors", tags=["collectors"])

CollectorId = Annotated[
    str,
    Path(
        max_length=200,
        description="the collector's id",
        examples=["candles:binance:BTC-USDT:1h", "news:decrypt"],
    ),
]
COLLECTOR_EXAMPLE: JsonDict = {
    "candles": {
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "since": "2025-01-01T00:00:00Z",
    },
    "running": True,
}


class CollectorBody(Collector):
    """One series or one feed, and whether it runs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": COLLECTOR_EXAMPLE})


class CollectorAnswer(BaseModel):
    """A collector, and how it is doing."""

    id: str
    collector: Collector
    health: PartHealth | None = None


class CollectorList(BaseModel):
    collectors: list[CollectorAnswer]


@router.get("")
async def list_collectors(ports: Ports) -> CollectorList:
    """Everything that is collected, with the age of its data."""
    collectors = await ports.platform.collectors()
    health = {part.part: part for part in await ports.platform.health()}
    return CollectorList(
        collectors=[
            CollectorAnswer(id=c.id, collector=c, health=health.get(c.id)) for c in collectors
        ]
    )


@router.post("", status_code=201)
async def add_collector(ports: Ports, body: CollectorBody) -> CollectorAnswer:
    """Collect one more series or feed. It is kept over restarts."""
    return await _set(ports, _plain(body))


@router.get("/{collector_id}")
async def one_collector(ports: Ports, collector_id: CollectorId) -> CollectorAnswer:
    """One collector by its id."""
    collector = await _find(ports, collector_id)
    health = {part.part: part for part in await ports.platform.health()}
    return CollectorAnswer(id=collector.id, collector=collector, health=health.get(collector.id))


@router.put("/{collector_id}")
async def change_collector(
    ports: Ports, collector_id: CollectorId, body: CollectorBody
) -> CollectorAnswer:
    """Change where a series begins, how a feed is read, or whether it runs."""
    if body.id != collector_id:
        raise InvalidInput(
            f"the body describes {body.id}, not {collector_id}; a collector keeps its id: "
            "remove this one and add the other"
        )
    await _find(ports, collector_id)
    return await _set(ports, _plain(body))


@router.post("/{collector_id}/start")
async def start_collector(ports: Ports, collector_id: CollectorId) -> CollectorAnswer:
    """Start it, or leave it running."""
    collector = await _find(ports, collector_id)
    return await _set(ports, collector.model_copy(update={"running": True}))


@router.post("/{collector_id}/stop")
async def stop_collector(ports: Ports, collector_id: CollectorId) -> CollectorAnswer:
    """Stop it until it is started again. What it collected stays."""
    collector = await _find(ports, collector_id)
    return await _set(ports, collector.model_copy(update={"running": False}))


@router.delete("/{collector_id}", status_code=204)
async def remove_collector(ports: Ports, collector_id: CollectorId) -> Response:
    """Collect it no more. What it collected stays."""
    await _find(ports, collector_id)
    await ports.platform.remove_collector(collector_id)
    return Response(status_code=204)


async def _find(ports: HttpPorts, collector_id: str) -> Collector:
    for collector in await ports.platform.collectors():
        if collector.id == collector_id:
            return collector
    raise NotFound(f"nothing is collected under {collector_id}; /v1/collectors lists what is")


async def _set(ports: HttpPorts, wanted: Collector) -> CollectorAnswer:
    collector = await ports.platform.set_collector(wanted)
    return CollectorAnswer(id=collector.id, collector=collector)


def _plain(body: CollectorBody) -> Collector:
    return Collector(candles=body.candles, news=body.news, running=body.running)
