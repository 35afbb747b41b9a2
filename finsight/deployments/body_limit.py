"""How long a request's body may be."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 32 * 1024 * 1024
"""Room for as many and as long texts as /v1/sentiment/score takes."""


class BodyLimit:
    """Refuses a longer body as soon as it is known to be longer, and keeps none of it."""

    def __init__(self, app: ASGIApp, most: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        taken = 0

        async def receive_within_limit() -> Message:
            nonlocal taken
            if announced.isdecimal() and int(announced) > self._most:
                raise self._too_long()
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most:
                raise self._too_long()
            return message

        await self._app(scope, receive_within_limit, send)

    def _too_long(self) -> HTTPException:
        return HTTPException(413, f"a body may have {self._most:,} bytes at most")
