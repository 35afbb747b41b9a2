"""Candles from any exchange ccxt speaks to."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from finsight.adapters.market.ccxt_client import ccxt_errors_translated, open_client
from finsight.adapters.market.ccxt_rows import CheckedRows, check_rows
from finsight.adapters.market.venue_limits import Reach, VenueLimits, limits_of
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.interval import Interval
from finsight.domain.timeframe import Timeframe, from_ms, to_ms
from finsight.ports.clock import Clock
from finsight.ports.market import CandlePage
from finsight.settings import ExchangeSettings

_SETTLING = timedelta(seconds=30)
"""How long after its close a missing newest candle may still be on its way."""


class CcxtExchange:
    """Implements `ports.market.Exchange` over one ccxt client and its one rate limiter.

    What an answer covers depends on the venue (`venue_limits`). Two cases are the same everywhere:
    - The newest candle is missing within `_SETTLING` of its close: venues are some
      seconds late, so it is not covered yet, and the caller asks again.
    - A row can't be true (a high below its low, a price of zero): it is not returned,
      its opening time is not covered, and `note` names it. It stays "not fetched",
      so filling gaps asks for it again, in case the venue has mended it.
    """

    def __init__(self, client: Any, limits: VenueLimits, clock: Clock) -> None:
        self._client = client
        self._limits = limits
        self._clock = clock
        self._loading = asyncio.Lock()
        self._has_contracts = client.id != "binance"

    @classmethod
    def open(cls, exchange: str, settings: ExchangeSettings, clock: Clock) -> CcxtExchange:
        """Open `exchange` by ccxt's id. Raises: NotFound (ccxt has no such venue)."""
        client = open_client(exchange, settings)
        offered = ((client.features or {}).get("spot") or {}).get("fetchOHLCV") or {}
        return cls(client, limits_of(exchange, offered.get("limit")), clock)

    @property
    def name(self) -> str:
        return str(self._client.id)

    def timeframes(self) -> list[Timeframe]:
        offered = self._client.timeframes or {}
        return [timeframe for timeframe in Timeframe if timeframe.value in offered]

    async def symbols(self) -> list[str]:
        await self._load_markets("", "its list of symbols")
        return sorted(self._client.symbols)

    async def close(self) -> None:
        await self._client.close()

    async def fetch_page(self, series: Series, start: datetime, end: datetime) -> CandlePage:
        timeframe = series.timeframe
        if timeframe not in self.timeframes():
            raise InvalidInput(
                f"{self.name} offers no {timeframe} candles; it offers "
                f"{', '.join(self.timeframes())}"
            )
        now = self._clock.now()
        # The candle open now begins here: nothing from this moment on is returned.
        open_now = timeframe.floor(now)
        first, stop = timeframe.ceil(start), min(end, open_now)
        if first >= stop:
            nothing_opens = first >= end and end <= open_now
            return CandlePage(CandleTable.empty(), Interval(start, end if nothing_opens else start))
        await self._load_markets(series.symbol, str(series))
        page_rows = self._limits.page_rows(is_contract=":" in series.symbol)
        wanted = len(
            timeframe.opens_between(first, min(stop, first + page_rows * timeframe.duration))
        )
        if self._limits.reach is Reach.WINDOW:
            stop = min(stop, first + page_rows * timeframe.duration)
        checked = await self._fetch_rows(series, first, stop, min(wanted, page_rows))
        covered, note = self._covered(
            timeframe, start, first, stop, min(wanted, page_rows), checked
        )
        covered = _without_late(timeframe, covered, checked.candles, open_now, now)
        covered, bad_note = _without_bad(timeframe, covered, checked.bad_ms)
        notes = "; ".join(text for text in (note, bad_note) if text)
        return CandlePage(checked.candles.between(*covered), covered, notes or None)

    async def _fetch_rows(
        self, series: Series, first: datetime, stop: datetime, rows: int
    ) -> CheckedRows:
        # One second before the end is after the last opening time, whether a venue counts
        # its end in or out.
        until = {"until": to_ms(stop) - 1_000} if self._limits.end_parameter else {}
        limit = None if self._limits.reach is Reach.NEWEST else rows
        with ccxt_errors_translated(self._client, f"{series.symbol} {series.timeframe}"):
            answer = await self._client.fetch_ohlcv(
                series.symbol, series.timeframe.value, to_ms(first), limit, until
            )
        return check_rows(answer, to_ms(first), to_ms(stop))

    async def _load_markets(self, symbol: str, asked_for: str) -> None:
        contracts = ":" in symbol and not self._has_contracts
        if self._client.markets and not contracts:
            return
        async with self._loading:
            if contracts:
                self._client.options["fetchMarkets"] = {"types": ["spot", "linear", "inverse"]}
            with ccxt_errors_translated(self._client, asked_for):
                await self._client.load_markets(contracts)
            self._has_contracts = self._has_contracts or contracts

    def _covered(
        self,
        timeframe: Timeframe,
        start: datetime,
        first: datetime,
        stop: datetime,
        rows: int,
        checked: CheckedRows,
    ) -> tuple[Interval, str | None]:
        """Say which span an answer to `[first, stop)` speaks for, and why not for all of it."""
        times = _opening_times(checked)
        reach = self._limits.reach
        if reach is Reach.WINDOW:
            return Interval(start, stop), None
        if reach is Reach.FROM_START:
            full = checked.given >= rows and len(times) > 0
            return Interval(start, min(stop, timeframe.next(times[-1])) if full else stop), None
        if reach is Reach.NEWEST:
            return self._covered_by_newest(timeframe, start, first, stop, times)
        if not times:
            return Interval(stop, stop), (
                f"{self.name} gave nothing from {first:%Y-%m-%d %H:%M} on; whether nobody "
                "traded or it can't go back that far is not known"
            )
        return Interval(times[0], timeframe.next(times[-1])), None

    def _covered_by_newest(
        self,
        timeframe: Timeframe,
        start: datetime,
        first: datetime,
        stop: datetime,
        times: list[datetime],
    ) -> tuple[Interval, str | None]:
        reaches_to = (
            timeframe.floor(self._clock.now()) - (self._limits.rows - 1) * timeframe.duration
        )
        if first >= reaches_to or (times and times[0] <= first):
            return Interval(start, stop), None
        oldest = times[0] if times else reaches_to
        # `stop` on both sides covers nothing and still moves the caller on.
        return Interval(min(oldest, stop), stop), (
            f"{self.name} gives only its newest {self._limits.rows} {timeframe} candles: "
            f"nothing before {oldest:%Y-%m-%d %H:%M} UTC can be had from it"
        )


def _opening_times(checked: CheckedRows) -> list[datetime]:
    """The first and last opening time given, the impossible rows' too; empty when none."""
    ends = [*checked.candles.ts_ms[[0, -1]]] if len(checked.candles) else []
    ends += [*checked.bad_ms[[0, -1]]] if len(checked.bad_ms) else []
    return [from_ms(int(min(ends))), from_ms(int(max(ends)))] if ends else []


def _without_late(
    timeframe: Timeframe,
    covered: Interval,
    candles: CandleTable,
    open_now: datetime,
    now: datetime,
) -> Interval:
    """Leave out the newest closed candle when it is missing so soon after its close."""
    newest = timeframe.floor(open_now - timedelta(milliseconds=1))
    is_there = candles.last_opened_at is not None and candles.last_opened_at >= newest
    if covered.end <= newest or is_there or now - open_now >= _SETTLING:
        return covered
    return Interval(covered.start, max(covered.start, newest))


def _without_bad(
    timeframe: Timeframe, covered: Interval, bad_ms: np.ndarray
) -> tuple[Interval, str | None]:
    """Cut `covered` at the first impossible row, or begin after it where it is the first."""
    start, end = covered
    named: list[datetime] = []
    for bad in (from_ms(int(ts)) for ts in bad_ms):
        if bad >= end:
            break
        named.append(bad)
        if bad > timeframe.ceil(start):
            end = bad
            break
        start = min(end, timeframe.next(bad))
    if not named:
        return covered, None
    listed = ", ".join(f"{moment:%Y-%m-%d %H:%M}" for moment in named[:3])
    return Interval(start, end), f"impossible prices were left out: {listed} UTC"
