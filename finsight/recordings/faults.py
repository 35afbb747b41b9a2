"""Faults on demand: what venues and networks do on bad days."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Fault:
    """What happens to the next `times` requests whose path contains `path`.

    Give one of: `status` or `body` (answered instead of the route, with `headers`),
    `cut` (half of the true answer, then the connection closes), `delay_s` (the true
    answer, so many seconds late), `microseconds` (Binance's rows with microseconds).
    `after` lets so many matching requests pass first.
    """

    path: str = ""
    times: int = 1
    after: int = 0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: bool = False
    delay_s: float = 0.0
    microseconds: bool = False


class Faults:
    """ASGI middleware that plays the faults it was given, oldest first, and keeps a log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waiting: list[Fault] = []
        self.requests: deque[str] = deque(maxlen=10_000)
        """Path and query of every request, oldest first."""

    def add(self, fault: Fault) -> None:
        self._waiting.append(fault)

    def clear(self) -> None:
        self._waiting.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        query = scope["query_string"].decode()
        self.requests.append(f"{scope['path']}?{query}" if query else scope["path"])
        fault = self._next_for(scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.status is not None or fault.body is not None:
            await _answer(fault, send)
        elif fault.cut:
            await self._app(scope, receive, _half(send))
        else:
            scope["microseconds"] = fault.microseconds
            await self._app(scope, receive, send)

    def _next_for(self, path: str) -> Fault | None:
        for fault in self._waiting:
            if fault.path in path:
                if fault.after:
                    fault.after -= 1
                    return None
                fault.times -= 1
                if fault.times <= 0:
                    self._waiting.remove(fault)
                return fault
        return None


async def _answer(fault: Fault, send: Send) -> None:
    body = b"" if fault.body is None else fault.body
    headers = {"content-type": "application/json"} | fault.headers
    await send(
        {
            "type": "http.response.start",
            "status": fault.status or 200,
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()]
            + [(b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _half(send: Send) -> Send:
    async def send_half(message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            # The promised length stays: the server closes the connection on a short body.
            message = {**message, "body": body[: len(body) // 2], "more_body": False}
        await send(message)

    return send_half
