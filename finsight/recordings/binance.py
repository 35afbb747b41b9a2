"""Answers as Binance's spot API does, from recordings."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from finsight.domain.timeframe import Timeframe, to_ms
from finsight.ports.clock import Clock
from finsight.recordings.recorded_candles import Columns, RecordedCandles

VENUE = "binance"
_DEFAULT_LIMIT, _MAX_LIMIT = 500, 1_000
_FAR_MS = 10**15


def binance_routes(candles: RecordedCandles, clock: Clock) -> list[Route]:
    """Return klines, exchangeInfo, time and ping; futures list nothing."""
    symbols = {symbol.replace("/", ""): symbol for symbol in candles.symbols(VENUE)}

    async def klines(request: Request) -> Response:
        asked = request.query_params
        symbol = symbols.get(asked.get("symbol", ""))
        if symbol is None:
            return _refusal(-1121, "Invalid symbol.")
        try:
            recording = candles.find(VENUE, symbol, Timeframe(asked.get("interval", "")))
        except ValueError:
            recording = None
        if recording is None:
            return _refusal(-1120, "Invalid interval.")
        limit = max(1, min(int(asked.get("limit", _DEFAULT_LIMIT)), _MAX_LIMIT))
        end_ms = int(asked.get("endTime", _FAR_MS)) + 1
        low, high = recording.rows_between(int(asked.get("startTime", 0)), end_ms, clock)
        if "startTime" in asked:
            high = min(high, low + limit)
        else:
            low = max(low, high - limit)
        writer = _rows_in_microseconds if request.scope.get("microseconds") else _rows
        rows = recording.write(low, high, writer, clock)
        return _json(b"[" + b",".join(rows) + b"]")

    async def exchange_info(request: Request) -> Response:
        return _json(
            orjson.dumps(
                {
                    "timezone": "UTC",
                    "serverTime": to_ms(clock.now()),
                    "rateLimits": [],
                    "exchangeFilters": [],
                    "symbols": [_symbol(*symbol.split("/")) for symbol in symbols.values()],
                }
            )
        )

    async def no_futures(request: Request) -> Response:
        return _json(b'{"timezone":"UTC","symbols":[]}')

    async def time(request: Request) -> Response:
        return _json(orjson.dumps({"serverTime": to_ms(clock.now())}))

    async def ping(request: Request) -> Response:
        return _json(b"{}")

    return [
        Route("/api/v3/klines", klines),
        Route("/api/v3/exchangeInfo", exchange_info),
        Route("/api/v3/time", time),
        Route("/api/v3/ping", ping),
        Route("/fapi/v1/exchangeInfo", no_futures),
        Route("/dapi/v1/exchangeInfo", no_futures),
    ]


def _rows(columns: Columns, timeframe: Timeframe) -> list[bytes]:
    return _written(columns, timeframe, 1)


def _rows_in_microseconds(columns: Columns, timeframe: Timeframe) -> list[bytes]:
    return _written(columns, timeframe, 1_000)


def _written(columns: Columns, timeframe: Timeframe, ticks_a_ms: int) -> list[bytes]:
    # Quote volume and the number of trades were not recorded: they are zero here.
    closes = (timeframe.next_ms(columns[0]) * ticks_a_ms - 1).tolist()
    opens = (columns[0] * ticks_a_ms).tolist()
    values = (column.tolist() for column in columns[1:])
    return [
        f'[{ts},"{o:.8f}","{h:.8f}","{low:.8f}","{c:.8f}","{v:.8f}",{closed},'
        '"0.00000000",0,"0.00000000","0.00000000","0"]'.encode()
        for ts, closed, o, h, low, c, v in zip(opens, closes, *values, strict=True)
    ]


def _symbol(base: str, quote: str) -> dict[str, object]:
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "icebergAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [],
        "permissions": ["SPOT"],
    }


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


def _refusal(code: int, message: str) -> Response:
    return _json(orjson.dumps({"code": code, "msg": message}), 400)
