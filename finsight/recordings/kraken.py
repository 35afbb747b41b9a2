"""Answers as Kraken's public API does, from recordings: never more than the last 720 candles."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from finsight.domain.timeframe import Timeframe, to_ms
from finsight.ports.clock import Clock
from finsight.recordings.recorded_candles import Columns, RecordedCandles, plain

VENUE = "kraken"
_REACH = 720
_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
_LONG_NAMES = {"XBT": "XXBT", "ETH": "XETH", "LTC": "XLTC", "USD": "ZUSD", "EUR": "ZEUR"}
_MINUTES = {
    str(timeframe.duration_ms // 60_000): timeframe
    for timeframe in ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w")
    for timeframe in [Timeframe(timeframe)]
}


def kraken_routes(candles: RecordedCandles, clock: Clock) -> list[Route]:
    """Return AssetPairs, Time and OHLC."""
    pairs = {_pair_id(*symbol.split("/")): symbol for symbol in candles.symbols(VENUE)}

    async def asset_pairs(request: Request) -> Response:
        return _answer({id_: _pair(id_, *s.split("/")) for id_, s in pairs.items()})

    async def ohlc(request: Request) -> Response:
        asked = request.query_params
        pair = asked.get("pair", "")
        timeframe = _MINUTES.get(asked.get("interval", "1"))
        if pair not in pairs:
            return _refusal("EQuery:Unknown asset pair")
        if timeframe is None:
            return _refusal("EGeneral:Invalid arguments:interval")
        recording = candles.find(VENUE, pairs[pair], timeframe)
        if recording is None:
            return _answer({pair: [], "last": "0"})
        now_ms = to_ms(clock.now())
        low, high = recording.rows_between(0, now_ms + 1, clock)
        low = max(low, high - _REACH)
        if "since" in asked:
            since_ms = int(asked["since"]) * 1_000
            low = max(low, recording.rows_between(since_ms + 1, now_ms + 1, clock)[0])
        rows = recording.write(low, high, _rows, clock)
        committed = int(recording.opened_ms[high - 2]) // 1_000 if high > 1 else 0
        body = b'{"error":[],"result":{"%s":[%s],"last":"%d"}}'
        return _json(body % (pair.encode(), b",".join(rows), committed))

    async def time(request: Request) -> Response:
        return _answer({"unixtime": to_ms(clock.now()) // 1_000})

    return [
        Route("/0/public/AssetPairs", asset_pairs),
        Route("/0/public/OHLC", ohlc),
        Route("/0/public/Time", time),
    ]


def _rows(columns: Columns, timeframe: Timeframe) -> list[bytes]:
    # The average price was not recorded: the close stands in. Nor was the number of trades.
    seconds = (columns[0] // 1_000).tolist()
    prices = (plain(column) for column in columns[1:5])
    volumes = columns[5].tolist()
    return [
        f'[{ts},"{o}","{h}","{low}","{c}","{c}","{v:.8f}",0]'.encode()
        for ts, o, h, low, c, v in zip(seconds, *prices, volumes, strict=True)
    ]


def _pair_id(base: str, quote: str) -> str:
    base, quote = _NAMES.get(base, base), _NAMES.get(quote, quote)
    if base in _LONG_NAMES and quote in _LONG_NAMES:
        return _LONG_NAMES[base] + _LONG_NAMES[quote]
    return base + quote


def _pair(id_: str, base: str, quote: str) -> dict[str, object]:
    base, quote = _NAMES.get(base, base), _NAMES.get(quote, quote)
    return {
        "altname": base + quote,
        "wsname": f"{base}/{quote}",
        "aclass_base": "currency",
        "base": _LONG_NAMES.get(base, base),
        "aclass_quote": "currency",
        "quote": _LONG_NAMES.get(quote, quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": 1,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD",
        "ordermin": "0.0001",
        "status": "online",
    }


def _answer(result: dict[str, object]) -> Response:
    return _json(orjson.dumps({"error": [], "result": result}))


def _refusal(error: str) -> Response:
    # Kraken says no with status 200.
    return _json(orjson.dumps({"error": [error]}))


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
