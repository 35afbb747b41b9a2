"""Market data: candles, and what is known of them."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from finsight.deployments.candle_formats import (
    CandleFormat,
    as_arrow,
    as_csv,
    as_json,
    chosen_format,
)
from finsight.deployments.http_ports import Ports
from finsight.deployments.routes.asked import AskedSeries, AskedSpan, Exchange
from finsight.domain.candle import EXCHANGE_PATTERN, Series
from finsight.domain.gaps import GapKind, GapPlace
from finsight.domain.quality import Quality
from finsight.domain.timeframe import Timeframe
from finsight.services.candle_reading import SeriesStatistics, describe_series, report_gaps
from finsight.services.candle_slices import CandleSlice, read_slice

router = APIRouter(prefix="/market", tags=["market"])


class CandleAnswer(BaseModel):
    """One candle; prices in quote currency, volume in base currency."""

    opened_at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    complete: bool | None = Field(
        default=None, description="of candles put together: whether none of their parts is missing"
    )


class CandlesAnswer(BaseModel):
    """One page of candles, oldest first; `next` is the address of the page after it."""

    series: Series
    source_timeframe: Timeframe = Field(description="what is stored; shorter where put together")
    next: str | None
    quality: Quality | None = None
    candles: list[CandleAnswer]


class SeriesAnswer(BaseModel):
    """A stored series, and from when to when."""

    series: Series
    key: str
    candles: int
    first: datetime | None
    last: datetime | None


class SeriesList(BaseModel):
    series: list[SeriesAnswer]


class ExchangeAnswer(BaseModel):
    """A venue: what is stored of it and what is collected from it."""

    exchange: str
    stored_series: int
    collected_series: int


class ExchangeList(BaseModel):
    exchanges: list[ExchangeAnswer]


class SymbolList(BaseModel):
    exchange: str
    symbols: list[str]


class TimeframeList(BaseModel):
    timeframes: list[Timeframe]


class GapAnswer(BaseModel):
    """Consecutive opening times without a candle; `end` is the first one after."""

    start: datetime
    end: datetime
    missing: int
    kind: GapKind
    place: GapPlace


class GapsAnswer(BaseModel):
    """The gaps of a series. Counts are of candles, and of the whole span even where
    `gaps` is cut at `limit`."""

    series: Series
    start: datetime
    end: datetime
    expected: int
    present: int
    not_fetched: int
    no_trades: int
    gap_count: int
    gaps: list[GapAnswer]


@router.get(
    "/candles",
    response_model=CandlesAnswer,
    responses={
        200: {"content": {CandleFormat.CSV.value: {}, CandleFormat.ARROW.value: {}}},
        406: {"description": "The Accept header takes no JSON, no CSV and no Arrow"},
    },
)
async def read_candles(
    request: Request,
    ports: Ports,
    series: AskedSeries,
    span: AskedSpan,
    limit: Annotated[int, Query(ge=1, le=50_000, description="candles a page")] = 500,
    quality: Annotated[bool, Query(description="grade the page (in JSON)")] = False,
    accept: Annotated[str | None, Header(description="JSON, CSV or an Arrow stream")] = None,
) -> Response:
    """Candles that opened in `[start, end)`, oldest first; without `start`, the newest.

    A timeframe that isn't stored is put together from a shorter one. The `Link`
    header, in JSON also `next`, leads to the page after this one.
    """
    kind = chosen_format(accept)
    found = await read_slice(
        ports.candles, series, span.start, span.end, limit, quality, ports.clock.now()
    )
    link = None
    if found.next_start is not None:
        asked = request.url.include_query_params(start=_iso(found.next_start))
        link = f"{asked.path}?{asked.query}"
    headers = {"Vary": "Accept"} | ({"Link": f'<{link}>; rel="next"'} if link else {})
    # Thousands of rows to text take milliseconds that other requests need the loop for.
    body = await asyncio.to_thread(_body, kind, series, found, link)
    return Response(body, media_type=kind.value, headers=headers)


@router.get("/series")
async def list_series(
    ports: Ports,
    exchange: Annotated[str | None, Query(pattern=EXCHANGE_PATTERN, examples=["binance"])] = None,
) -> SeriesList:
    """What is stored, and from when to when."""
    stored = [s for s in await ports.candles.list_series() if exchange in (None, s.exchange)]
    summaries = [await ports.candles.summary(series) for series in stored]
    return SeriesList(
        series=[
            SeriesAnswer(
                series=s.series, key=s.series.key, candles=s.candles, first=s.first, last=s.last
            )
            for s in summaries
        ]
    )


@router.get("/exchanges")
async def list_exchanges(ports: Ports) -> ExchangeList:
    """The venues that candles are stored of or collected from."""
    stored = [series.exchange for series in await ports.candles.list_series()]
    collected = [c.candles.exchange for c in await ports.platform.collectors() if c.candles]
    return ExchangeList(
        exchanges=[
            ExchangeAnswer(
                exchange=name,
                stored_series=stored.count(name),
                collected_series=collected.count(name),
            )
            for name in sorted({*stored, *collected})
        ]
    )


@router.get("/symbols")
async def list_symbols(ports: Ports, exchange: Exchange) -> SymbolList:
    """The symbols that a venue lists now. Asks the venue, through its collector."""
    return SymbolList(exchange=exchange, symbols=await ports.platform.symbols(exchange))


@router.get("/timeframes")
async def list_timeframes(
    ports: Ports,
    exchange: Annotated[
        str | None,
        Query(
            pattern=EXCHANGE_PATTERN,
            description="only those that this venue offers; all that FinSight knows when left out",
            examples=["binance"],
        ),
    ] = None,
) -> TimeframeList:
    """How long candles can last, shortest first."""
    if exchange is None:
        return TimeframeList(timeframes=list(Timeframe))
    return TimeframeList(timeframes=await ports.platform.timeframes(exchange))


@router.get("/gaps")
async def list_gaps(
    ports: Ports,
    series: AskedSeries,
    span: AskedSpan,
    kind: Annotated[GapKind | None, Query(description="only these")] = None,
    place: Annotated[GapPlace | None, Query(description="only those that lie there")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="gaps listed, oldest first")] = 1000,
) -> GapsAnswer:
    """Which candles are missing: nobody traded, or nobody has fetched them."""
    report = await report_gaps(ports.candles, series, span.start, span.end, ports.clock.now())
    return GapsAnswer(
        series=series,
        start=report.start,
        end=report.end,
        expected=report.expected,
        present=report.present,
        not_fetched=report.not_fetched,
        no_trades=report.no_trades,
        gap_count=len(report),
        gaps=[GapAnswer(**vars(gap)) for gap in report.gaps(kind, place, limit)],
    )


@router.get("/stats")
async def series_statistics(ports: Ports, series: AskedSeries, span: AskedSpan) -> SeriesStatistics:
    """What a stored series did over a span, or over all of it."""
    return await describe_series(ports.candles, series, span.start, span.end, ports.clock.now())


def _body(kind: CandleFormat, series: Series, found: CandleSlice, link: str | None) -> bytes:
    # Only candles put together can be incomplete.
    complete = found.complete if found.source is not series.timeframe else None
    if kind is CandleFormat.CSV:
        return as_csv(found.candles, complete)
    if kind is CandleFormat.ARROW:
        return as_arrow(found.candles, complete)
    around: dict[str, Any] = {
        "series": series.model_dump(mode="json"),
        "source_timeframe": found.source,
        "next": link,
    }
    if found.quality is not None:
        around["quality"] = found.quality.model_dump(mode="json")
    return as_json(found.candles, complete, around)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
