"""What FinSight needs from anything that supplies or keeps candles."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.interval import Interval
from finsight.domain.timeframe import Timeframe


@dataclass(frozen=True)
class CandlePage:
    """One answer of an exchange.

    `covered` is the span the answer speaks for: an opening time inside it that
    has no candle means that nobody traded. A venue that can't go back as far as
    it was asked covers only what it gave; `note` then says so.
    """

    candles: CandleTable
    covered: Interval
    note: str | None = None


class Exchange(Protocol):
    """Supplies candles that have already closed, from one venue."""

    @property
    def name(self) -> str:
        """ccxt's id: 'binance'."""
        ...

    async def fetch_page(self, series: Series, start: datetime, end: datetime) -> CandlePage:
        """Return closed candles opening in `[start, end)`, as many as one request brings.

        Oldest first. Ask again from `covered.end` for the next page. An answer
        always moves forward: `covered.end > start`, unless no candle that opens
        at or after `start` has closed yet, or the venue is seconds late with the
        one that just has; then `covered` is empty. It may start after `start`: what
        the venue can't give (or gave with impossible prices) is not covered.

        Raises:
            NotFound: the exchange does not list `series.symbol`.
            InvalidInput: it does not offer that timeframe.
            SourceBusy: it asked us to slow down, for so long.
            SourceUnavailable: it did not answer.
            SourceRefused: it answered and will go on refusing.
        """
        ...

    async def symbols(self) -> list[str]:
        """Return the symbols it lists, sorted. Raises: as `fetch_page`."""
        ...

    def timeframes(self) -> list[Timeframe]:
        """Return the timeframes it offers, shortest first."""
        ...

    async def close(self) -> None:
        """Give back its connections."""
        ...


@dataclass(frozen=True)
class SeriesSummary:
    """What a store holds of one series."""

    series: Series
    candles: int
    first: datetime | None
    last: datetime | None


class CandleStore(Protocol):
    """Keeps candles, at most one per series and opening time, and what was asked for."""

    async def upsert(
        self, series: Series, candles: CandleTable, covered: Sequence[Interval] = ()
    ) -> None:
        """Store `candles`, replacing those already there, then remember `covered`.

        Calling this twice with the same candles leaves the store as once did:
        collectors rely on it to retry after a crash. A crash in the middle may
        forget `covered`, never keep it without its candles.

        Raises:
            StoreUnavailable: the write failed; what was there before is still there.
        """
        ...

    async def read(self, series: Series, start: datetime, end: datetime) -> CandleTable:
        """Return the candles with `start <= opening time < end`, oldest first.

        Raises: StoreUnavailable.
        """
        ...

    async def coverage(self, series: Series) -> list[Interval]:
        """Return the spans that were asked for and answered: sorted and apart.

        Raises: StoreUnavailable.
        """
        ...

    async def summary(self, series: Series) -> SeriesSummary:
        """Return how many candles there are, and the first and last opening time.

        Raises: StoreUnavailable.
        """
        ...

    async def list_series(self) -> list[Series]:
        """Return every series that holds a candle or a coverage, sorted by key.

        Raises: StoreUnavailable.
        """
        ...
