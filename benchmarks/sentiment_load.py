"""A load generator in a process of its own: many connections that post texts to score.

    python -m benchmarks.sentiment_load URL CONNECTIONS TEXTS_A_REQUEST SECONDS DATA_FOLDER

Prints texts answered a second. Every text is sent once, so nothing is answered from memory.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.sentiment_texts import headlines

_WARM_UP_S = 2.0


async def texts_a_second(
    url: str, connections: int, texts_a_request: int, seconds: float, texts: list[str]
) -> float:
    """Keep `connections` busy for `seconds`, after a warm-up; return texts answered a second."""
    address = urlsplit(url)
    requests = _requests(address.netloc, address.path, texts_a_request, texts)
    started = time.perf_counter()
    count_from, end = started + _WARM_UP_S, started + _WARM_UP_S + seconds
    answered = [0] * connections

    async def keep_asking(number: int) -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        while time.perf_counter() < end:
            writer.write(next(requests))
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                raise RuntimeError(f"answered {head!r}")
            await reader.readexactly(_content_length(head))
            if count_from <= time.perf_counter() <= end:
                answered[number] += texts_a_request
        writer.close()

    await asyncio.gather(*(keep_asking(number) for number in range(connections)))
    return sum(answered) / seconds


def _requests(host: str, path: str, texts_a_request: int, texts: list[str]) -> Iterator[bytes]:
    for start in itertools.count(0, texts_a_request):
        chosen = [texts[(start + n) % len(texts)] for n in range(texts_a_request)]
        body = json.dumps({"texts": chosen}).encode()
        yield (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise RuntimeError(f"no Content-Length in {head!r}")


if __name__ == "__main__":
    url, connections, texts_a_request, seconds, data = sys.argv[1:]
    rate = texts_a_second(
        url,
        int(connections),
        int(texts_a_request),
        float(seconds),
        headlines(Path(data), 60_000),
    )
    print(asyncio.run(rate))
