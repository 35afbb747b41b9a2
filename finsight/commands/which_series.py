"""A series and a moment as they are written on a command line."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from finsight.domain.candle import Series
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import AskedMoment, Timeframe

_MOMENT: TypeAdapter[datetime] = TypeAdapter(AskedMoment)


def named_series(exchange: str, symbol: str, timeframe: str) -> Series:
    """Read `binance BTC/USDT 1h`. Raises: InvalidInput."""
    if timeframe not in list(Timeframe):
        known = ", ".join(Timeframe)
        raise InvalidInput(f"'{timeframe}' is not a timeframe; known are {known}")
    try:
        return Series(exchange=exchange, symbol=symbol, timeframe=Timeframe(timeframe))
    except ValidationError as exc:
        raise InvalidInput(
            f"'{exchange} {symbol}' does not name a series; expected, say, binance BTC/USDT"
        ) from exc


def named_moment(option: str, text: str | None) -> datetime | None:
    """Read `2024-01-01` or `2024-01-01T12:30`, in UTC where it names no zone.

    Raises: InvalidInput, which names `option`.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return _MOMENT.validate_python(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as exc:
        raise InvalidInput(
            f"{option} '{text}' is not a date; write 2024-01-01 or 2024-01-01T12:30, in UTC"
        ) from exc
