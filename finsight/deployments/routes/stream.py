"""What happens, as it happens: one stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from finsight.deployments.http_errors import error_as_problem
from finsight.deployments.http_ports import OpenStreams, Ports
from finsight.domain.errors import FinSightError
from finsight.ports.events import EventBus

router = APIRouter(tags=["stream"])

RECONNECT_MS = 3000


class StreamKind(StrEnum):
    """What a client may follow."""

    CANDLES = "candles"
    ARTICLES = "articles"
    SCORES = "scores"
    FORECASTS = "forecasts"


_KIND_OF_EVENT = {
    "CandlesCollected": StreamKind.CANDLES,
    "ArticleCollected": StreamKind.ARTICLES,
    "SentimentScored": StreamKind.SCORES,
    "ForecastMade": StreamKind.FORECASTS,
}


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events",
            "content": {
                "text/event-stream": {
                    "example": "event: scores\nid: 1733-0\n"
                    'data: {"kind":"SentimentScored","label":"positive","score":0.62}\n\n'
                }
            },
        }
    },
)
async def follow_events(
    ports: Ports,
    kind: Annotated[
        list[StreamKind] | None, Query(description="only these; all when left out")
    ] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            pattern=r"^\d+-\d+$",
            description="go on after this event; browsers send it when they reconnect",
        ),
    ] = None,
) -> StreamingResponse:
    """Candles, articles, scores and forecasts as they come, with a heartbeat every 10 s.

    Each event's name is its kind, its id is for `Last-Event-ID`, its data is JSON.
    """
    bus = ports.bus.get()
    # Before the first byte, so that a bus that is down is a 503 and not an empty stream.
    await bus.ping()
    ports.streams.take()
    wanted = set(kind or StreamKind)
    return LiveStream(_lines(bus, wanted, last_event_id), ports.streams)


class LiveStream(StreamingResponse):
    """Sends until the client leaves, and then stops at once.

    Starlette's own response notices a client that has left only when it next sends.
    """

    media_type = "text/event-stream"

    def __init__(self, lines: AsyncGenerator[bytes], streams: OpenStreams) -> None:
        super().__init__(lines, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._lines = lines
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self.stream_response(send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams.give_back()
            for task in (sending, leaving):
                task.cancel()
            # A send to a client that has just left may fail; there is nobody to tell.
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._lines.aclose()


async def _lines(
    bus: EventBus, wanted: set[StreamKind], after_id: str | None
) -> AsyncGenerator[bytes]:
    yield format_sse_event(comment="connected", retry=RECONNECT_MS)
    happened = bus.follow(after_id)
    try:
        async for item in happened:
            if item is None:
                yield format_sse_event(comment="heartbeat")
            elif (name := _KIND_OF_EVENT[item[1].kind]) in wanted:
                yield format_sse_event(event=name, id=item[0], data_str=item[1].model_dump_json())
    except FinSightError as exc:
        # The status is long sent: the client hears why, and comes back by itself.
        problem, _ = error_as_problem(exc, "/v1/stream")
        yield format_sse_event(event="problem", data_str=problem.model_dump_json(exclude_none=True))
    finally:
        close = getattr(happened, "aclose", None)
        if close is not None:
            await close()
