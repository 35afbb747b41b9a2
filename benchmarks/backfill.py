"""Backfill of 500,000 one-minute candles: exchange client, checks, events left out, stored.

    python -m benchmarks.backfill

Ours is CcxtExchange, CandleCollection and ParquetCandleStore. The peer is a bare ccxt loop
that asks the same server for the same pages and throws the candles away. Both run without
ccxt's rate limiter, in turns, against one local server in a process of its own.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import ccxt.async_support as ccxt_async
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.report import print_figure
from finsight.adapters.filesystems import open_folder
from finsight.adapters.market.ccxt_exchange import CcxtExchange
from finsight.adapters.market.parquet_candles import ParquetCandleStore
from finsight.domain.candle import Series
from finsight.domain.timeframe import Timeframe, to_ms
from finsight.services.candle_collection import CandleCollection
from finsight.settings import ExchangeSettings

CANDLES = 500_000
ROUNDS = 7
START = datetime(2024, 1, 1, tzinfo=UTC)
END = START + timedelta(minutes=CANDLES)
SERIES = Series(exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.M1)


class _LongAfter:
    def now(self) -> datetime:
        return END + timedelta(days=1)


def write_recording(folder: Path) -> None:
    """Write a random walk of prices and volumes with as many digits as real ones."""
    rng = np.random.default_rng(0)
    close = np.round(40_000 * np.exp(np.cumsum(rng.normal(0, 0.0005, CANDLES))), 2)
    open_ = np.concatenate([[40_000.0], close[:-1]])
    high = np.round(np.maximum(open_, close) + rng.uniform(0, 20, CANDLES), 2)
    low = np.round(np.minimum(open_, close) - rng.uniform(0, 20, CANDLES), 2)
    ts = to_ms(START) + np.arange(CANDLES, dtype=np.int64) * 60_000
    volume = np.round(rng.uniform(0, 50, CANDLES), 5)
    columns = (ts, open_, high, low, close, volume)
    names = ("ts", "open", "high", "low", "close", "volume")
    path = folder / "candles" / "binance" / "BTC-USDT" / "1m.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), path, compression="zstd")


def start_server(folder: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "finsight.recordings.server", "--folder", str(folder)]
    until = ["--until", _LongAfter().now().isoformat()]
    server = subprocess.Popen(command + until, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


async def bare_ccxt(base_url: str) -> float:
    """Fetch every page and throw it away; return the seconds it took."""
    client = ccxt_async.binance({"enableRateLimit": False})
    client.options["fetchMarkets"] = {"types": ["spot"]}
    client.has["fetchCurrencies"] = False
    client.urls["api"]["public"] = f"{base_url}/binance/api/v3"
    try:
        await client.load_markets()
        began, since, seen = time.perf_counter(), to_ms(START), 0
        while since < to_ms(END):
            rows = await client.fetch_ohlcv("BTC/USDT", "1m", since, 1_000)
            seen += len(rows)
            since = rows[-1][0] + 60_000
        took = time.perf_counter() - began
    finally:
        await client.close()
    if seen != CANDLES:
        raise RuntimeError(f"the bare loop saw {seen} candles, not {CANDLES}")
    return took


async def ours(base_url: str) -> float:
    """Fetch, check and store every page; return the seconds it took."""
    settings = ExchangeSettings(base_url=f"{base_url}/binance", rate_limit=False)
    exchange = CcxtExchange.open("binance", settings, _LongAfter())
    try:
        await exchange.symbols()
        with tempfile.TemporaryDirectory() as folder:
            store = ParquetCandleStore(open_folder(folder))
            collection = CandleCollection(exchange, store, None, _LongAfter())
            began = time.perf_counter()
            await collection.backfill(SERIES, START, END)
            took = time.perf_counter() - began
            held = (await store.summary(SERIES)).candles
    finally:
        await exchange.close()
    if held != CANDLES:
        raise RuntimeError(f"the store holds {held} candles, not {CANDLES}")
    return took


async def measure(base_url: str) -> tuple[float, float]:
    """Return the median seconds of (ours, the bare loop) over rounds taken in turns."""
    await bare_ccxt(base_url)  # so that the server has written every row before either is timed
    our_times, bare_times = [], []
    for number in range(ROUNDS):
        order = (ours, bare_ccxt) if number % 2 else (bare_ccxt, ours)
        for run in order:
            (our_times if run is ours else bare_times).append(await run(base_url))
    return median(our_times), median(bare_times)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        write_recording(Path(name))
        server, base_url = start_server(Path(name))
        try:
            our_s, bare_s = asyncio.run(measure(base_url))
        finally:
            server.terminate()
            server.wait()
    print_figure("backfill of 500,000 one-minute candles", our_s, bare_s, "s", target=1.15)


if __name__ == "__main__":
    main()
