"""HTTP to addresses that users give, kept off private networks, in bounds of time and size."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx

from finsight.domain.errors import SourceBusy, SourceRefused, SourceUnavailable

MAX_BYTES = 5_000_000
MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_WORTH_RETRYING = {408, 425, 500, 502, 503, 504}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_AGENT = "FinSight/0.1 (news reader)"

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class HttpAnswer:
    """What was answered in the end: 200 with a body, or 304 without."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class GuardedHttp:
    """Fetches over http and https from public addresses alone, unless `allow_private`.

    A name is resolved here, every address it has is checked, and the connection goes
    to the address that was checked: a name that answers differently the second time
    gains nothing. Each redirect is checked in the same way. Proxies of the environment
    are not used, because they would resolve the name again.

    Units:
        timeout_s: seconds for a whole fetch, redirects and body included.
        max_bytes: size of a body, before and after decompression.
    """

    def __init__(
        self, *, allow_private: bool = False, timeout_s: float = 20.0, max_bytes: int = MAX_BYTES
    ) -> None:
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        # No connection is kept: it would be found again by its number, not by its name.
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=timeout_s,
            verify=_tls(),
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> HttpAnswer:
        """Return the 200 or 304 that `url` answers, after at most 5 redirects.

        Raises:
            SourceRefused: a forbidden address, an answer that won't change, or too much of it.
            SourceBusy: it asked for a pause.
            SourceUnavailable: it didn't answer, or not in time.
        """
        return await self._within_time(url, "GET", headers or {}, None, MAX_REDIRECTS)

    async def post_json(self, url: str, document: Any, headers: Mapping[str, str]) -> HttpAnswer:
        """Return what `url` answers to `document`. Redirects are refused: keys stay with it.

        Raises: as `get`.
        """
        content = json.dumps(document).encode()
        headers = {"content-type": "application/json", **headers}
        return await self._within_time(url, "POST", headers, content, 0)

    async def close(self) -> None:
        await self._client.aclose()

    async def _within_time(
        self, url: str, method: str, headers: Mapping[str, str], content: bytes | None, hops: int
    ) -> HttpAnswer:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(url, method, headers, content, hops)
        except TimeoutError as exc:
            raise SourceUnavailable(
                f"{_shown(url)} took longer than {self._timeout_s:g} s to answer"
            ) from exc

    async def _follow(
        self, url: str, method: str, headers: Mapping[str, str], content: bytes | None, hops: int
    ) -> HttpAnswer:
        address = _parsed(url)
        for hop in range(hops + 1):
            answer = await self._request(address, method, headers, content)
            if answer.status not in _REDIRECTS:
                return answer
            location = answer.headers.get("location", "")
            with _httpx_errors_translated(address):
                address = _parsed(str(address.join(location)) if location else "")
            if hop == hops:
                break
        raise SourceRefused(f"{_shown(url)} redirects more than {hops} times")

    async def _request(
        self, url: httpx.URL, method: str, headers: Mapping[str, str], content: bytes | None
    ) -> HttpAnswer:
        numbers = await self._resolved(url)
        for number in numbers[:-1]:
            try:
                return await self._request_to(number, url, method, headers, content)
            except _NotConnected:
                continue
        return await self._request_to(numbers[-1], url, method, headers, content)

    async def _request_to(
        self,
        number: IpAddress,
        url: httpx.URL,
        method: str,
        headers: Mapping[str, str],
        content: bytes | None,
    ) -> HttpAnswer:
        request = self._client.build_request(
            method,
            url.copy_with(host=str(number)),
            headers={
                "user-agent": _AGENT,
                "accept": "*/*",
                **headers,
                "accept-encoding": "gzip",
                "host": url.netloc.decode("ascii"),
            },
            content=content,
            # The certificate must be the name's, although we connect to its number.
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        with _httpx_errors_translated(url):
            response = await self._client.send(request, stream=True)
            try:
                _refuse_bad_status(response, url)
                body = await self._read(response, url) if response.status_code == 200 else b""
            finally:
                await response.aclose()
        return HttpAnswer(response.status_code, response.headers, body, str(url))

    async def _resolved(self, url: httpx.URL) -> list[IpAddress]:
        loop = asyncio.get_running_loop()
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await loop.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise SourceUnavailable(f"no address is known for {url.host}: {exc}") from exc
        numbers = list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
        if not self._allow_private:
            for number in numbers:
                if not is_public(number):
                    raise SourceRefused(
                        f"{url.host} leads to {number}, which is not a public address; "
                        "FINSIGHT_ALLOW_PRIVATE_FEEDS=true allows it"
                    )
        return numbers

    async def _read(self, response: httpx.Response, url: httpx.URL) -> bytes:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        raw = response.aiter_raw()
        if encoding in ("gzip", "x-gzip", "deflate"):
            pieces = _inflated(raw, self._max_bytes, url)
        elif encoding in ("", "identity"):
            pieces = raw
        else:
            raise SourceRefused(f"{_shown(str(url))} is encoded as {encoding!r}, not as gzip")
        body = bytearray()
        async for piece in pieces:
            body += piece
            if len(body) > self._max_bytes:
                raise SourceRefused(
                    f"{_shown(str(url))} is larger than {self._max_bytes / 1e6:g} MB"
                )
        return bytes(body)


def is_public(number: IpAddress) -> bool:
    """Whether an address is out on the internet, the IPv4 address inside an IPv6 one included."""
    if isinstance(number, ipaddress.IPv6Address):
        if number.ipv4_mapped is not None:
            return is_public(number.ipv4_mapped)
        if number.scope_id is not None:
            return False
        inside = [number.sixtofour, *(number.teredo or ())]
        if number in _NAT64 or int(number) < 1 << 32:
            inside.append(ipaddress.IPv4Address(int(number) & 0xFFFF_FFFF))
        if any(ipv4 is not None and not is_public(ipv4) for ipv4 in inside):
            return False
    return number.is_global and not (
        number.is_multicast or number.is_reserved or number.is_unspecified or number.is_link_local
    )


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The pause that Retry-After asks for, in seconds, or None when it can't be read."""
    given = headers.get("retry-after", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        until = parsedate_to_datetime(given)
    except ValueError:
        return None
    # Another machine's clock wrote the date, so it is compared with real time.
    now = now or datetime.now(UTC)
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())


@cache
def _tls() -> ssl.SSLContext:
    # Reading the machine's certificates takes a tenth of a second; once is enough.
    return ssl.create_default_context()


class _NotConnected(SourceUnavailable):
    """Nobody answered at this address; another address of the name may."""


def _parsed(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError) as exc:
        raise SourceRefused(f"{_shown(url)!r} is not an address: {exc}") from exc
    if address.scheme not in ("http", "https") or not address.host:
        raise SourceRefused(f"{_shown(url)!r} is not an http or https address")
    return address


def _shown(url: str) -> str:
    """An address as messages show it: without what may be secret in it."""
    return url.partition("?")[0].rpartition("@")[2][:200]


def _refuse_bad_status(response: httpx.Response, url: httpx.URL) -> None:
    status, shown = response.status_code, _shown(str(url))
    if status in (200, 304) or status in _REDIRECTS:
        return
    pause = retry_after_s(response.headers)
    if status == 429 or (status == 503 and pause is not None):
        raise SourceBusy(f"{shown} asked us to slow down (HTTP {status})", pause)
    if status in _WORTH_RETRYING or status >= 500:
        raise SourceUnavailable(f"{shown} answered HTTP {status}")
    raise SourceRefused(f"{shown} answered HTTP {status}")


async def _inflated(
    raw: AsyncIterator[bytes], max_bytes: int, url: httpx.URL
) -> AsyncIterator[bytes]:
    # 47: gzip or zlib, whichever its header says. At most one byte too many is ever inflated.
    inflater = zlib.decompressobj(47)
    left = max_bytes + 1
    try:
        async for piece in raw:
            inflated = inflater.decompress(piece, left)
            left -= len(inflated)
            yield inflated
            if left <= 0:
                return
    except zlib.error as exc:
        raise SourceUnavailable(f"{_shown(str(url))} sent damaged gzip: {exc}") from exc


@contextmanager
def _httpx_errors_translated(url: httpx.URL) -> Iterator[None]:
    shown = _shown(str(url))
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
        raise _NotConnected(f"{shown} can't be reached: {exc}") from exc
    except httpx.InvalidURL as exc:
        raise SourceRefused(f"{shown} redirects to no address: {exc}") from exc
    except httpx.HTTPError as exc:
        detail = str(exc) or type(exc).__name__
        raise SourceUnavailable(f"{shown} did not answer properly: {detail}") from exc
