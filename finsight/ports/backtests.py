"""What FinSight needs of anything that keeps backtests."""

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa

from finsight.domain.backtest_record import BacktestRecord
from finsight.domain.candle_table import CandleTable


class BacktestStore(Protocol):
    """Keeps backtests by id, with their tables and the candles they saw.

    All methods raise `StoreUnavailable`; those that take an id, `NotFound`.
    """

    async def save(
        self,
        record: BacktestRecord,
        tables: Mapping[str, pa.Table],
        candles: Mapping[str, CandleTable],
    ) -> None:
        """Keep a backtest, whole or not at all. Candles that several saw are kept once.

        `candles` are those of each series in `record.fingerprints`.
        """
        ...

    async def get(self, backtest_id: str) -> BacktestRecord:
        """Return one backtest; the message of `NotFound` suggests the nearest id."""
        ...

    async def table(self, backtest_id: str, name: str) -> pa.Table:
        """Return one of its tables, to the bit as it was saved."""
        ...

    async def candles(self, backtest_id: str) -> dict[str, CandleTable]:
        """Return the candles it saw, by the name of their series."""
        ...

    async def recent(self, limit: int, offset: int = 0) -> list[BacktestRecord]:
        """Return backtests, newest first, `offset` of them passed over."""
        ...

    async def delete(self, backtest_id: str) -> None:
        """Forget one backtest with its tables; its candles stay while another saw them."""
        ...
