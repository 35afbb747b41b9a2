"""Answers as Coinbase does (Advanced Trade, and the older Exchange API), from recordings."""

from __future__ import annotations

from datetime import datetime

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from finsight.domain.timeframe import Timeframe, to_ms
from finsight.ports.clock import Clock
from finsight.recordings.recorded_candles import Columns, RecordedCandles, RowWriter, plain

VENUE = "coinbase"
_MAX_BUCKETS = 350
_MAX_ROWS = 300
_GRANULARITIES = {
    "ONE_MINUTE": Timeframe.M1,
    "FIVE_MINUTE": Timeframe.M5,
    "FIFTEEN_MINUTE": Timeframe.M15,
    "THIRTY_MINUTE": Timeframe.M30,
    "ONE_HOUR": Timeframe.H1,
    "TWO_HOUR": Timeframe.H2,
    "SIX_HOUR": Timeframe.H6,
    "ONE_DAY": Timeframe.D1,
}
_SECONDS = {timeframe.duration_ms // 1_000: timeframe for timeframe in _GRANULARITIES.values()}


def coinbase_routes(candles: RecordedCandles, clock: Clock) -> list[Route]:
    """Return Advanced Trade's public products and candles, newest candle first."""
    symbols = _product_ids(candles)

    async def products(request: Request) -> Response:
        spot = request.query_params.get("product_type", "SPOT") == "SPOT"
        listed = [_product(*s.split("/")) for s in symbols.values()] if spot else []
        return _json(orjson.dumps({"products": listed, "num_products": len(listed)}))

    async def product_candles(request: Request) -> Response:
        asked = request.query_params
        symbol = symbols.get(request.path_params["product_id"])
        if symbol is None:
            return _refusal(404, "NOT_FOUND", "valid product_id is required")
        timeframe = _GRANULARITIES.get(asked.get("granularity", ""))
        if timeframe is None:
            return _refusal(400, "INVALID_ARGUMENT", "granularity is required")
        start_ms, end_ms = int(asked["start"]) * 1_000, int(asked["end"]) * 1_000
        if (end_ms - start_ms) // timeframe.duration_ms > _MAX_BUCKETS:
            return _refusal(
                400, "INVALID_ARGUMENT", "start and end argument is invalid - number of candles "
                "requested should be less than 350 "
            )  # fmt: skip
        rows = _newest_first(candles, symbol, timeframe, start_ms, end_ms, clock, _named_rows)
        return _json(b'{"candles":[' + b",".join(rows) + b"]}")

    return [
        Route("/api/v3/brokerage/market/products", products),
        Route("/api/v3/brokerage/market/products/{product_id}/candles", product_candles),
    ]


def coinbase_exchange_routes(candles: RecordedCandles, clock: Clock) -> list[Route]:
    """Return the Exchange API's products and candles (ccxt's `coinbaseexchange`)."""
    symbols = _product_ids(candles)

    async def products(request: Request) -> Response:
        return _json(orjson.dumps([_exchange_product(*s.split("/")) for s in symbols.values()]))

    async def product_candles(request: Request) -> Response:
        asked = request.query_params
        symbol = symbols.get(request.path_params["product_id"])
        timeframe = _SECONDS.get(int(asked.get("granularity", 60)))
        if symbol is None or timeframe is None:
            return _json(b'{"message":"NotFound"}', 404)
        end_ms = _iso_ms(asked["end"]) if "end" in asked else to_ms(clock.now())
        default_start = end_ms - (_MAX_ROWS - 1) * timeframe.duration_ms
        start_ms = _iso_ms(asked["start"]) if "start" in asked else default_start
        if (end_ms - start_ms) // timeframe.duration_ms > _MAX_ROWS:
            return _json(b'{"message":"granularity too small for the requested time range"}', 400)
        rows = _newest_first(candles, symbol, timeframe, start_ms, end_ms, clock, _bare_rows)
        return _json(b"[" + b",".join(rows) + b"]")

    return [
        Route("/products", products),
        Route("/products/{product_id}/candles", product_candles),
    ]


def _product_ids(candles: RecordedCandles) -> dict[str, str]:
    return {symbol.replace("/", "-"): symbol for symbol in candles.symbols(VENUE)}


def _newest_first(
    candles: RecordedCandles,
    symbol: str,
    timeframe: Timeframe,
    start_ms: int,
    end_ms: int,
    clock: Clock,
    writer: RowWriter,
) -> list[bytes]:
    recording = candles.find(VENUE, symbol, timeframe)
    if recording is None:
        return []
    low, high = recording.rows_between(start_ms, end_ms + 1, clock)
    return recording.write(low, high, writer, clock)[::-1]


def _named_rows(columns: Columns, timeframe: Timeframe) -> list[bytes]:
    seconds = (columns[0] // 1_000).tolist()
    values = (plain(column) for column in columns[1:])
    return [
        f'{{"start":"{ts}","low":"{low}","high":"{h}","open":"{o}","close":"{c}",'
        f'"volume":"{v}"}}'.encode()
        for ts, o, h, low, c, v in zip(seconds, *values, strict=True)
    ]


def _bare_rows(columns: Columns, timeframe: Timeframe) -> list[bytes]:
    seconds = (columns[0] // 1_000).tolist()
    values = (plain(column) for column in columns[1:])
    return [
        f"[{ts},{low},{h},{o},{c},{v}]".encode()
        for ts, o, h, low, c, v in zip(seconds, *values, strict=True)
    ]


def _product(base: str, quote: str) -> dict[str, object]:
    return {
        "product_id": f"{base}-{quote}",
        "base_increment": "0.00000001",
        "quote_increment": "0.01",
        "price_increment": "0.01",
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_min_size": "0.00000001",
        "base_max_size": "3400",
        "base_name": base,
        "quote_name": quote,
        "is_disabled": False,
        "status": "online",
        "trading_disabled": False,
        "product_type": "SPOT",
        "quote_currency_id": quote,
        "base_currency_id": base,
        "fcm_trading_session_details": None,
        "product_venue": "CBE",
    }


def _exchange_product(base: str, quote: str) -> dict[str, object]:
    return {
        "id": f"{base}-{quote}",
        "base_currency": base,
        "quote_currency": quote,
        "quote_increment": "0.01",
        "base_increment": "0.00000001",
        "min_market_funds": "1",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": "online",
        "trading_disabled": False,
    }


def _iso_ms(text: str) -> int:
    return to_ms(datetime.fromisoformat(text))


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


def _refusal(status: int, error: str, message: str) -> Response:
    body = {"error": error, "error_details": message, "message": message}
    return _json(orjson.dumps(body), status)
