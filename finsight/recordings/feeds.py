"""Recorded feeds over HTTP, answered with validators as publishers' servers do."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from finsight.ports.clock import Clock

_TYPES = {".rss": "application/rss+xml; charset=utf-8", ".xml": "application/xml; charset=utf-8"}


def feed_routes(folder: Path, clock: Clock) -> list[Route]:
    """Return `/feeds/<name>` for each `<name>.rss` and `<name>.xml` of `folder`.

    `folder` may also be the folder around a folder `feeds`. A file is read at each
    request, so one that is replaced is served at once; one that is added is too.
    Nothing is modified later than `clock` says it is.
    """
    inner = folder / "feeds"
    return [Route("/feeds/{name}", _Feeds(inner if inner.is_dir() else folder, clock).answer)]


class _Feeds:
    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    async def answer(self, request: Request) -> Response:
        found = await asyncio.to_thread(self._read, request.path_params["name"])
        if found is None:
            return Response("there is no such feed\n", 404, media_type="text/plain")
        body, changed_at, content_type = found
        headers = {
            "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
            "last-modified": format_datetime(changed_at, usegmt=True),
            "content-type": content_type,
        }
        if _is_known(request, headers["etag"], changed_at):
            del headers["content-type"]
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers)

    def _read(self, name: str) -> tuple[bytes, datetime, str] | None:
        for path in sorted(self._folder.iterdir()):
            if path.stem == name and path.suffix in _TYPES:
                changed_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                changed_at = min(changed_at, self._clock.now()).replace(microsecond=0)
                return path.read_bytes(), changed_at, _TYPES[path.suffix]
        return None


def _is_known(request: Request, etag: str, changed_at: datetime) -> bool:
    """Whether the asker has this version: the ETag decides where it sends one."""
    known = request.headers.get("if-none-match")
    if known is not None:
        tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
        return etag in tags or "*" in tags
    try:
        since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
    except ValueError:
        return False
    return changed_at <= (since if since.tzinfo else since.replace(tzinfo=UTC))
