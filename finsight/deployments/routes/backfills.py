"""Backfills: fetch what is missing of a series, and watch it happen."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, model_validator

from finsight.deployments.http_ports import HttpPorts, Ports
from finsight.domain.backfill import Backfill
from finsight.domain.candle import EXCHANGE_PATTERN, SYMBOL_PATTERN, Series
from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.timeframe import AskedMoment, Timeframe

router = APIRouter(prefix="/market/backfills", tags=["market"])


BackfillId = Annotated[str, Path(max_length=100)]


class BackfillBody(BaseModel):
    """Which candles to fetch: those of `[start, end)`; without `end`, up to now."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "exchange": "binance",
                "symbol": "BTC/USDT",
                "timeframe": "1h",
                "start": "2024-01-01T00:00:00Z",
            }
        },
    )

    exchange: str = Field(pattern=EXCHANGE_PATTERN)
    symbol: str = Field(pattern=SYMBOL_PATTERN)
    timeframe: Timeframe
    start: AskedMoment | None = Field(
        default=None, description="left out with gaps_only: from the first that was fetched"
    )
    end: AskedMoment | None = None
    gaps_only: bool = Field(
        default=False, description="only the holes between what was fetched before"
    )

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> BackfillBody:
        if self.start is None and not self.gaps_only:
            raise ValueError("start is needed: from when to fetch")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("end must be after start")
        return self


class BackfillStarted(BaseModel):
    id: str


class BackfillList(BaseModel):
    backfills: list[Backfill]


@router.post("", status_code=202)
async def start_backfill(ports: Ports, body: BackfillBody) -> BackfillStarted:
    """Begin a backfill; ask for its id to see how far it is. It goes on over restarts."""
    now = ports.clock.now()
    series = Series(exchange=body.exchange, symbol=body.symbol, timeframe=body.timeframe)
    start = body.start or await _first_fetched(ports, series)
    if start >= now:
        raise InvalidInput(f"there are no candles yet from {start.isoformat()} on")
    end = min(body.end, now) if body.end is not None else now
    if start >= end:
        raise InvalidInput(f"nothing was fetched of {series} before {end.isoformat()}")
    return BackfillStarted(id=await ports.platform.backfill(series, start, end, body.gaps_only))


@router.get("")
async def list_backfills(ports: Ports) -> BackfillList:
    """Backfills that wait, run or ended, newest first."""
    found = sorted(await ports.platform.backfills(), key=lambda b: b.created_at, reverse=True)
    return BackfillList(backfills=found)


@router.get("/{backfill_id}")
async def one_backfill(ports: Ports, backfill_id: BackfillId) -> Backfill:
    """How far one backfill is."""
    return await _found(ports, backfill_id)


@router.delete("/{backfill_id}")
async def cancel_backfill(ports: Ports, backfill_id: BackfillId) -> Backfill:
    """Cancel a backfill that waits or runs. What it stored stays.

    One that has ended stays as it ended; the answer says how.
    """
    return await ports.platform.cancel_backfill(await _found(ports, backfill_id))


async def _found(ports: HttpPorts, backfill_id: str) -> Backfill:
    for backfill in await ports.platform.backfills():
        if backfill.id == backfill_id:
            return backfill
    raise NotFound(f"there is no backfill {backfill_id}; /v1/market/backfills lists them")


async def _first_fetched(ports: HttpPorts, series: Series) -> datetime:
    fetched = await ports.candles.coverage(series)
    if not fetched:
        raise NotFound(f"nothing was fetched of {series} yet, so it has no gaps to fill")
    return fetched[0].start
