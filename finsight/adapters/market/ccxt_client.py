"""Opens ccxt's async clients for public endpoints, and turns their errors into ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import ccxt
import ccxt.async_support as ccxt_async

from finsight.adapters.market.ccxt_rows import LAYOUTS, read_columns
from finsight.domain.errors import NotFound, SourceBusy, SourceRefused, SourceUnavailable
from finsight.settings import ExchangeSettings

# What a venue answers when asking again can't help: no access from here, no such route.
_REFUSING_STATUSES = frozenset({400, 401, 403, 404, 405, 407, 410, 422, 451, 511})
_BUSY_STATUSES = frozenset({418, 429})


def open_client(exchange: str, settings: ExchangeSettings) -> Any:
    """Return a ccxt client of `exchange` that remembers its last answer's status.

    Opens no connection. Must be made where an event loop runs.

    Raises:
        NotFound: ccxt has no such venue; the message names the nearest one.
    """
    if exchange not in ccxt_async.exchanges:
        raise NotFound(f"ccxt knows no exchange '{exchange}'{nearest(exchange, ccxt.exchanges)}")
    venue_class = getattr(ccxt_async, exchange)
    client = type(exchange, (_CandleClient, venue_class), {})(
        {"enableRateLimit": settings.rate_limit, "timeout": int(settings.timeout_s * 1_000)}
    )
    # Costs a request, needs keys at some venues, and says nothing about candles.
    client.has["fetchCurrencies"] = False
    if exchange == "binance":
        client.options["fetchMarkets"] = {"types": ["spot"]}
    if settings.base_url is not None:
        client.urls["api"] = _moved(client.urls["api"], settings.base_url.rstrip("/"))
    return client


def nearest(wrong: str, right: list[str]) -> str:
    """Return '; did you mean …?' naming what looks most like `wrong`, or nothing."""
    close = difflib.get_close_matches(wrong, right, n=1)
    return f"; did you mean {close[0]}?" if close else ""


class _CandleClient:
    """Mixed into a ccxt client: keeps the status, lets nothing but JSON pass as an answer,
    and reads the rows of venues whose layout is known by columns.
    """

    answered_status: int | None = None
    answered_headers: Mapping[str, str] = {}
    answered: Any = None

    def on_rest_response(self, code: int, reason: str, url: str, method: str,
                         response_headers: Mapping[str, str], *rest: Any) -> Any:  # fmt: skip
        self.answered_status, self.answered_headers = code, response_headers
        return super().on_rest_response(  # type: ignore[misc]
            code, reason, url, method, response_headers, *rest
        )

    def parse_json(self, body: str) -> Any:
        parsed = super().parse_json(body)  # type: ignore[misc]
        if parsed is None and (self.answered_status or 0) < 400:
            # A proxy's or a maintenance page; ccxt would take it for an empty answer.
            raise ccxt.ExchangeNotAvailable(f"the answer is not JSON: {body[:80]!r}")
        self.answered = parsed
        return parsed

    def parse_ohlcvs(self, ohlcvs: Any, *rest: Any, **named: Any) -> Any:
        layout = LAYOUTS.get(self.id)  # type: ignore[attr-defined]
        if layout is not None:
            if not layout.is_answer(self.answered):
                raise ccxt.ExchangeNotAvailable(f"no candles in the answer {self.answered!r:.80}")
            return read_columns(ohlcvs, layout)
        return super().parse_ohlcvs(ohlcvs, *rest, **named)  # type: ignore[misc]


@contextmanager
def ccxt_errors_translated(client: Any, asked_for: str) -> Iterator[None]:
    """Turn ccxt's errors into ours, and nothing else.

    ccxt files 403, 404 and 451 under "not available"; the status tells them from 5xx.
    Nothing else runs between an answer and its error, so the status is that answer's.

    Raises: NotFound, SourceBusy, SourceUnavailable, SourceRefused.
    """
    try:
        yield
    except ccxt.BadSymbol as exc:
        symbol = asked_for.split()[0]
        more = nearest(symbol, list(client.symbols or []))
        raise NotFound(f"{client.id} lists no {symbol}{more}") from exc
    except (ccxt.DDoSProtection, ccxt.RateLimitExceeded) as exc:
        wait_s = _retry_after_s(client.answered_headers)
        if client.answered_status not in _BUSY_STATUSES:
            wait_s = None
        raise SourceBusy(f"{client.id} asked us to slow down: {_short(exc)}", wait_s) from exc
    except (ccxt.AuthenticationError, ccxt.NotSupported, ccxt.BadRequest) as exc:
        raise SourceRefused(f"{client.id} refused {asked_for}: {_short(exc)}") from exc
    except ccxt.RequestTimeout as exc:
        raise SourceUnavailable(f"{client.id} did not answer in time: {_short(exc)}") from exc
    except ccxt.ExchangeError as exc:
        if isinstance(exc.__cause__, aiohttp.ClientError):
            raise SourceUnavailable(
                f"the connection to {client.id} broke off: {_short(exc)}"
            ) from exc
        if (client.answered_status or 0) >= 500:
            raise SourceUnavailable(f"{client.id} is out of order: {_short(exc)}") from exc
        raise SourceRefused(f"{client.id} refused {asked_for}: {_short(exc)}") from exc
    except ccxt.OperationFailed as exc:
        failed_at_http = exc.__cause__ is None
        if failed_at_http and client.answered_status in _REFUSING_STATUSES:
            raise SourceRefused(f"{client.id} refused {asked_for}: {_short(exc)}") from exc
        raise SourceUnavailable(f"{client.id} can't be reached: {_short(exc)}") from exc
    except ccxt.BaseError as exc:
        raise SourceRefused(f"{client.id} refused {asked_for}: {_short(exc)}") from exc
    except (TypeError, KeyError, AttributeError, ValueError, IndexError) as exc:
        # ccxt reads answers without checking their form first.
        raise SourceUnavailable(
            f"{client.id} answered in a form that can't be read: {exc!r}"
        ) from exc


def _moved(urls: Any, base_url: str) -> Any:
    if isinstance(urls, dict):
        return {name: _moved(url, base_url) for name, url in urls.items()}
    if isinstance(urls, list):
        return [_moved(url, base_url) for url in urls]
    return base_url + urlsplit(urls).path if isinstance(urls, str) else urls


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After: seconds, or a date against the answer's own Date."""
    lower = {name.lower(): value for name, value in headers.items()}
    text = lower.get("retry-after", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        pause = parsedate_to_datetime(text) - parsedate_to_datetime(lower.get("date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, pause.total_seconds())


def _short(exc: Exception) -> str:
    text = " ".join(str(exc).split())
    return text if len(text) <= 200 else text[:200] + "…"
