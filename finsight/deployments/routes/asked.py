"""What many routes ask for in the same words: a series, a span of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Query

from finsight.domain.candle import EXCHANGE_PATTERN, SYMBOL_PATTERN, Series
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import AskedMoment, Timeframe

Exchange = Annotated[
    str, Query(pattern=EXCHANGE_PATTERN, description="ccxt's id of the venue", examples=["binance"])
]
Symbol = Annotated[
    str,
    Query(pattern=SYMBOL_PATTERN, description="ccxt's unified symbol", examples=["BTC/USDT"]),
]
AskedTimeframe = Annotated[Timeframe, Query(description="how long a candle lasts", examples=["1h"])]


async def _asked_series(exchange: Exchange, symbol: Symbol, timeframe: AskedTimeframe) -> Series:
    return Series(exchange=exchange, symbol=symbol, timeframe=timeframe)


AskedSeries = Annotated[Series, Depends(_asked_series)]


@dataclass(frozen=True)
class Span:
    """`start <= moment < end`, either end open when None."""

    start: datetime | None
    end: datetime | None


async def _asked_span(
    start: Annotated[
        AskedMoment | None, Query(description="from here on", examples=["2025-12-01T00:00:00Z"])
    ] = None,
    end: Annotated[
        AskedMoment | None,
        Query(description="up to here, not included", examples=["2025-12-13T00:00:00Z"]),
    ] = None,
) -> Span:
    if start is not None and end is not None and start >= end:
        raise InvalidInput(f"start ({start.isoformat()}) must be before end ({end.isoformat()})")
    return Span(start, end)


AskedSpan = Annotated[Span, Depends(_asked_span)]
