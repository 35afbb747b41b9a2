"""How long a candle lasts, and where on the UTC calendar candles begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, AwareDatetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAR_FUTURE = datetime(2200, 1, 1, tzinfo=UTC)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("lies outside the years 1 to 9999") from exc


def _in_our_time(moment: datetime) -> datetime:
    if not EPOCH <= moment < _FAR_FUTURE:
        raise ValueError(f"must lie between {EPOCH:%Y-%m-%d} and {_FAR_FUTURE:%Y-%m-%d}")
    return moment


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A moment with a time zone, turned into UTC."""

AskedMoment = Annotated[UtcDatetime, AfterValidator(_in_our_time)]
"""A moment that somebody asks for: near enough for calendars to reckon with."""

_MONDAY_MS = 4 * 86_400_000  # 1970-01-05, the first Monday after the epoch
_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class Timeframe(StrEnum):
    """How long one candle lasts, written the way exchanges write it.

    Candles begin on multiples of the timeframe since 1970-01-01T00:00Z, except
    weeks, which begin on Monday, and months, which begin on the first.
    """

    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M10 = "10m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H3 = "3h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    W1 = "1w"
    MONTH = "1M"

    @property
    def is_calendar(self) -> bool:
        """Whether candles of this timeframe differ in length (months do)."""
        return self is Timeframe.MONTH

    @property
    def duration(self) -> timedelta:
        """How long one candle lasts; for a month, the longest one (31 days)."""
        if self.is_calendar:
            return timedelta(days=31)
        return timedelta(milliseconds=int(self[:-1]) * _UNIT_MS[self[-1]])

    @property
    def duration_ms(self) -> int:
        """`duration` in milliseconds."""
        return self.duration // timedelta(milliseconds=1)

    def floor(self, moment: datetime) -> datetime:
        """Return when the candle that covers `moment` opened."""
        return from_ms(int(self.floor_ms(np.array([to_ms(moment)]))[0]))

    def ceil(self, moment: datetime) -> datetime:
        """Return `moment` if a candle opens then, else when the next one does."""
        opened_at = self.floor(moment)
        return opened_at if opened_at == moment else self.next(opened_at)

    def next(self, opened_at: datetime) -> datetime:
        """Return when the candle after the one that opened at `opened_at` opens."""
        return from_ms(int(self.next_ms(np.array([to_ms(opened_at)]))[0]))

    def floor_ms(self, ts: np.ndarray) -> np.ndarray:
        """`floor` over UTC milliseconds, int64 in and out."""
        if self.is_calendar:
            months = ts.astype("datetime64[ms]").astype("datetime64[M]")
            return months.astype("datetime64[ms]").astype(np.int64)
        offset = _MONDAY_MS if self is Timeframe.W1 else 0
        return (ts - offset) // self.duration_ms * self.duration_ms + offset

    def next_ms(self, opened_ts: np.ndarray) -> np.ndarray:
        """`next` over UTC milliseconds, int64 in and out."""
        if self.is_calendar:
            months = opened_ts.astype("datetime64[ms]").astype("datetime64[M]") + 1
            return months.astype("datetime64[ms]").astype(np.int64)
        return opened_ts + self.duration_ms

    def opens_between(self, start: datetime, end: datetime) -> np.ndarray:
        """Return every opening time in `[start, end)` as int64 UTC milliseconds."""
        first, stop = to_ms(self.ceil(start)), to_ms(end)
        if self.is_calendar:
            months = np.arange(
                np.datetime64(first, "ms").astype("datetime64[M]"),
                np.datetime64(stop - 1, "ms").astype("datetime64[M]") + 1,
            )
            return months.astype("datetime64[ms]").astype(np.int64)
        return np.arange(first, stop, self.duration_ms, dtype=np.int64)


def to_ms(moment: datetime) -> int:
    """UTC milliseconds since 1970 of an aware `moment`, exact (no float in between)."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_ms(ts: int) -> datetime:
    """The moment `ts` milliseconds after 1970, in UTC."""
    return EPOCH + timedelta(milliseconds=ts)
