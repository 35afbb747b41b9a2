"""Backtests: begun and followed as jobs; what was found, paged and sorted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Path, Query
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field

from finsight.backtesting.built_in import BUILT_IN
from finsight.deployments.http_errors import error_as_problem
from finsight.deployments.http_ports import HttpPorts, Ports
from finsight.deployments.routes.stream import LiveStream
from finsight.deployments.routes.training import By, JobId
from finsight.domain.asked_backtest import AskedBacktest, BacktestProgress, progress_in
from finsight.domain.backtest_record import BacktestRecord, Kind, plain
from finsight.domain.errors import FinSightError, InvalidInput, NotFound
from finsight.domain.job_requests import Backtest
from finsight.domain.strategy import Parameter, unknown
from finsight.domain.training_job import ENDED, JobState
from finsight.services.backtest_report import report_page

router = APIRouter(prefix="/backtests", tags=["backtests"])

_LOG_LINES = 200
_LOOK_S = 1.0
_HEARTBEAT_S = 10.0
BacktestId = Annotated[str, Path(pattern=r"^bt-[A-Za-z0-9-]{1,60}$", examples=["bt-1a2b3c4d"])]


class StrategyAnswer(BaseModel):
    """A strategy that comes with FinSight. A user's own is never taken over HTTP."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    reads_beside: str | None = Field(description="what it reads beside the candles")


class StrategyList(BaseModel):
    strategies: list[StrategyAnswer]


class BacktestSummary(BaseModel):
    """One line of the list; fractions, not percent."""

    id: str
    made_at: datetime
    kind: Kind
    strategy: str
    source: str
    total_return: float | None
    buy_and_hold: float | None
    sharpe: float | None
    deflated_sharpe: float | None = Field(description="of a sweep: how sure its winner is no luck")


class BacktestList(BaseModel):
    backtests: list[BacktestSummary]


class BacktestJob(BaseModel):
    """A backtest that waits, runs or ended; `backtest_id` names its result once there is one."""

    id: str
    state: JobState
    reason: str
    progress: BacktestProgress | None
    backtest_id: str | None


class BacktestTable(BaseModel):
    """Some rows of a backtest's table; a figure that is not defined is null."""

    rows: list[dict[str, Any]]
    of: int = Field(description="rows that the whole table has")
    next_offset: int | None


@router.get("/strategies")
async def list_strategies() -> StrategyList:
    """The strategies that come with FinSight, with what each parameter may be."""
    return StrategyList(
        strategies=[
            StrategyAnswer(
                name=one.name,
                description=one.description,
                parameters=one.parameters,
                reads_beside=one.reads_beside,
            )
            for one in BUILT_IN.values()
        ]
    )


@router.get("")
async def list_backtests(
    ports: Ports,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> BacktestList:
    """Backtests that were kept, newest first."""
    records = await ports.backtests.recent(limit, offset)
    return BacktestList(backtests=[_summary(record) for record in records])


@router.post("", status_code=202)
async def submit_backtest(ports: Ports, body: AskedBacktest, by: By = "api") -> BacktestJob:
    """Begin a run, a sweep or a walk-forward over stored candles. Answered at once with an id.

    It runs as a Ray job: follow it at `jobs/{job_id}`, cancel it there. The result is kept.
    """
    if body.strategy not in BUILT_IN:
        raise InvalidInput(unknown("strategy", body.strategy, BUILT_IN))
    request = Backtest.model_validate(body.model_dump(exclude_unset=True))
    return await _job(ports, (await ports.jobs.submit(request, by)).id)


@router.get("/jobs/{job_id}")
async def backtest_job(ports: Ports, job_id: JobId) -> BacktestJob:
    """How far a backtest is, and once it is done, the id of its result."""
    return await _job(ports, job_id)


@router.get("/jobs/{job_id}/stream", response_class=StreamingResponse)
async def follow_backtest(ports: Ports, job_id: JobId) -> StreamingResponse:
    """How far a backtest is, as it goes on: server-sent events, the last one when it has ended."""
    await _job(ports, job_id)
    ports.streams.take()
    return LiveStream(_progress_lines(ports, job_id), ports.streams)


@router.post("/jobs/{job_id}/cancel", status_code=202)
async def cancel_backtest(ports: Ports, job_id: JobId, by: By = "api") -> BacktestJob:
    """Cancel one that waits or runs. What a sweep has done is kept for another try."""
    await _job(ports, job_id)
    await ports.jobs.cancel(job_id, by)
    return await _job(ports, job_id)


@router.get("/{backtest_id}")
async def one_backtest(ports: Ports, backtest_id: BacktestId) -> BacktestRecord:
    """One backtest: what was asked, what made it, its figures and the names of its tables."""
    return await ports.backtests.get(backtest_id)


@router.get("/{backtest_id}/tables/{name}")
async def backtest_table(
    ports: Ports,
    backtest_id: BacktestId,
    name: Annotated[str, Path(pattern=r"^[a-z_0-9]{1,40}$", examples=["sets", "trades"])],
    sort: Annotated[str | None, Query(max_length=60, examples=["sharpe"])] = None,
    order: Annotated[Literal["ascending", "descending"], Query()] = "descending",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    offset: Annotated[int, Query(ge=0, le=100_000_000)] = 0,
) -> BacktestTable:
    """Rows of one of its tables (sets, trades, equity, folds), sorted by any column."""
    table = await ports.backtests.table(backtest_id, name)
    return await asyncio.to_thread(_page, table, sort, order, limit, offset)


@router.get("/{backtest_id}/report", response_class=HTMLResponse)
async def backtest_report(ports: Ports, backtest_id: BacktestId) -> HTMLResponse:
    """The page that stands alone: the doubts first, then curves, trades and every figure."""
    record = await ports.backtests.get(backtest_id)
    tables = {name: await ports.backtests.table(backtest_id, name) for name in record.tables}
    candles = await ports.backtests.candles(backtest_id)
    return HTMLResponse(await asyncio.to_thread(report_page, record, tables, candles))


@router.delete("/{backtest_id}", status_code=204)
async def delete_backtest(ports: Ports, backtest_id: BacktestId) -> None:
    """Forget one backtest and its tables."""
    await ports.backtests.delete(backtest_id)


async def _job(ports: HttpPorts, job_id: str) -> BacktestJob:
    """Raises: NotFound (no such job, or one that is no backtest)."""
    job = await ports.jobs.one(job_id)
    if not isinstance(job.request, Backtest):
        raise NotFound(
            f"{job_id} is no backtest but a {job.request.kind}; see /v1/training/{job_id}"
        )
    log = await ports.jobs.log(job_id, None, _LOG_LINES)
    return BacktestJob(
        id=job.id,
        state=job.state,
        reason=job.reason,
        progress=progress_in(log.lines),
        backtest_id=job.model_version,
    )


async def _progress_lines(ports: HttpPorts, job_id: str) -> AsyncGenerator[bytes]:
    told: BacktestJob | None = None
    silent_s = 0.0
    while True:
        try:
            now = await _job(ports, job_id)
        except FinSightError as exc:
            problem, _ = error_as_problem(exc, f"/v1/backtests/jobs/{job_id}/stream")
            data = problem.model_dump_json(exclude_none=True)
            yield format_sse_event(event="problem", data_str=data)
            return
        if now != told:
            yield format_sse_event(event="progress", data_str=now.model_dump_json())
            told, silent_s = now, 0.0
        elif silent_s >= _HEARTBEAT_S:
            yield format_sse_event(comment="heartbeat")
            silent_s = 0.0
        if now.state in ENDED:
            return
        await asyncio.sleep(_LOOK_S)
        silent_s += _LOOK_S


def _summary(record: BacktestRecord) -> BacktestSummary:
    figures = record.figures
    luck = figures.get("luck") or {}
    return BacktestSummary(
        id=record.id,
        made_at=record.made_at,
        kind=record.request.kind,
        strategy=record.request.strategy,
        source=record.request.source,
        total_return=figures["statistics"].get("total_return"),
        buy_and_hold=figures["buy_and_hold"].get("total_return"),
        sharpe=figures["statistics"].get("sharpe"),
        deflated_sharpe=luck.get("deflated_sharpe"),
    )


def _page(table: pa.Table, sort: str | None, order: str, limit: int, offset: int) -> BacktestTable:
    whole = table.num_rows
    if sort is not None:
        if sort not in table.column_names:
            raise InvalidInput(unknown("column", sort, table.column_names))
        keys = table.column(sort)
        if pa.types.is_floating(keys.type):
            # What is not defined comes last, whichever way it is sorted.
            keys = pc.if_else(pc.is_finite(keys), keys, None)
        rows = pc.sort_indices(pa.table({"key": keys}), [("key", order, "at_end")])
        table = table.take(rows.slice(offset, limit))
    else:
        table = table.slice(offset, limit)
    after = offset + table.num_rows
    return BacktestTable(
        rows=[plain(row) for row in table.to_pylist()],
        of=whole,
        next_offset=after if after < whole else None,
    )
