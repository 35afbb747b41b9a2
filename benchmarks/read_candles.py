"""Reading a year of one-minute candles from the store, beside pyarrow reading one file of them.

    python -m benchmarks.read_candles

The store is filled as a collector fills it: page by page, with the last hour
coming in minute by minute. Both are then read many times in turn, from files
that the operating system holds in memory, and the medians are compared.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.report import print_figure
from finsight.adapters.filesystems import open_folder
from finsight.adapters.market.parquet_candles import ParquetCandleStore
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.interval import Interval
from finsight.domain.timeframe import Timeframe, from_ms

MINUTES = 365 * 24 * 60
PAGE = 10_000
ROUNDS = 25
TARGET = 1.5
SERIES = Series(exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.M1)
RECORDED = Path(__file__).parents[2] / "shared" / "data/candles/binance/BTC-USDT/1m.parquet"


def a_year_of_minutes() -> tuple[CandleTable, str]:
    """Binance's year 2024 (without its leap day's worth of minutes), or a random walk."""
    if RECORDED.is_file():
        recorded = CandleTable.from_arrow(pq.read_table(RECORDED))
        start = int(np.searchsorted(recorded.ts_ms, 1_704_067_200_000))
        return CandleTable(recorded.arrow.slice(start, MINUTES).combine_chunks()), "Binance, 2024"
    rng = np.random.default_rng(0)
    close = np.round(40_000 * np.exp(np.cumsum(rng.normal(0, 0.0005, MINUTES))), 2)
    open_ = np.concatenate([[40_000.0], close[:-1]])
    ts = 1_704_067_200_000 + np.arange(MINUTES, dtype=np.int64) * 60_000
    volume = np.round(rng.exponential(10, MINUTES), 5)
    high, low = np.maximum(open_, close) + 1, np.minimum(open_, close) - 1
    return CandleTable.from_columns(ts, open_, high, low, close, volume), "a random walk"


async def fill(store: ParquetCandleStore, year: CandleTable) -> None:
    """Store all but the last hour in pages, and that hour candle by candle."""
    paged = MINUTES - 60
    sizes = [PAGE] * (paged // PAGE) + [paged % PAGE] + [1] * 60
    row = 0
    for size in sizes:
        page = CandleTable(year.arrow.slice(row, size))
        row += size
        if page.first_opened_at is None or page.last_opened_at is None:
            continue
        covered = Interval(page.first_opened_at, page.last_opened_at + timedelta(minutes=1))
        await store.upsert(SERIES, page, [covered])


async def main() -> None:
    year, origin = a_year_of_minutes()
    start, end = from_ms(int(year.ts_ms[0])), from_ms(int(year.ts_ms[-1]) + 60_000)
    with tempfile.TemporaryDirectory() as folder:
        one_file = f"{folder}/one.parquet"
        pq.write_table(year.arrow, one_file, compression="zstd")
        store = ParquetCandleStore(open_folder(f"{folder}/store"))
        filling = time.perf_counter()
        await fill(store, year)
        filling = time.perf_counter() - filling
        ours, peer, hours = [], [], []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            found = await store.read(SERIES, start, end)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            pq.read_table(one_file)
            peer.append(time.perf_counter() - began)
            began = time.perf_counter()
            await store.read(SERIES, end - timedelta(days=100), end - timedelta(days=99))
            hours.append(time.perf_counter() - began)
        if found != year:
            raise SystemExit("the store does not give back what was stored")
        files, size_mb = _files_below(f"{folder}/store")
        _, peer_mb = _files_below(folder, "one.parquet")
    print(f"{MINUTES:,} candles ({origin}), {ROUNDS} rounds, medians")
    print(f"store: {files} files, {size_mb:.1f} MB (one file: {peer_mb:.1f} MB)")
    print(f"filled in {filling:.2f} s; one day of it is read in {1e3 * _median(hours):.1f} ms")
    print_figure("read a year of minutes", 1e3 * _median(ours), 1e3 * _median(peer), "ms", TARGET)


def _files_below(folder: str, pattern: str = "*.parquet") -> tuple[int, float]:
    """How many files there are, and their size in megabytes."""
    sizes = [file.stat().st_size for file in Path(folder).rglob(pattern)]
    return len(sizes), sum(sizes) / 1e6


def _median(seconds: list[float]) -> float:
    return statistics.median(seconds)


if __name__ == "__main__":
    asyncio.run(main())
