"""How far one request reaches at each venue, and what its answer speaks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reach(Enum):
    """How a venue picks the candles it answers with."""

    FROM_START = "the first candles at or after the start, however far apart"
    WINDOW = "the candles inside a window of so many timeframes"
    NEWEST = "its newest candles, whatever start was asked for"
    UNKNOWN = "not known: only what it gave is covered"


@dataclass(frozen=True)
class VenueLimits:
    """What is known of one venue.

    `rows` is how many candles one request brings, `contract_rows` the same for
    futures and perpetuals; `end_parameter` says whether ccxt's `until` works.
    """

    reach: Reach
    rows: int
    contract_rows: int | None = None
    end_parameter: bool = True

    def page_rows(self, is_contract: bool) -> int:
        return self.contract_rows if is_contract and self.contract_rows else self.rows


# Binance spot weighs every request the same, so the largest page is the cheapest. Its futures
# weigh 2 up to 499 rows and 5 up to 1,000: 499 brings the most rows for its weight.
_BINANCE = VenueLimits(Reach.FROM_START, rows=1_000, contract_rows=499)
_COINBASE = VenueLimits(Reach.WINDOW, rows=300)

KNOWN_LIMITS = {
    "binance": _BINANCE,
    "binanceus": _BINANCE,
    "binanceusdm": VenueLimits(Reach.FROM_START, rows=499),
    "binancecoinm": VenueLimits(Reach.FROM_START, rows=499),
    "coinbase": _COINBASE,
    "coinbaseexchange": _COINBASE,
    # 720 with the unfinished one among them. The end can't be set.
    "kraken": VenueLimits(Reach.NEWEST, rows=720, end_parameter=False),
}


def limits_of(exchange: str, rows_ccxt_knows: int | None) -> VenueLimits:
    """Return what is known of `exchange` (ccxt's id), else a careful guess."""
    known = KNOWN_LIMITS.get(exchange)
    return known or VenueLimits(Reach.UNKNOWN, rows=rows_ccxt_knows or 100, end_parameter=False)
