"""The two strategies that read news and forecasts, over real candles, whatever they earn.

`python -m benchmarks.known_strategies [--candles FILE.parquet] [--headlines FILE.parquet]
[--forecast FILE.parquet]`

Recorded headlines about bitcoin are scored by the compact model, each known from when it was
published; parameters are chosen on two years and judged on the half year after, again and
again. The account out of sample stands beside buying and holding over the same candles, and
the best set of the whole grid beside what luck alone would give. `--forecast` takes what
`python -m benchmarks.forecast_walk_forward --coins BTC --days 1095 --every 6 --out FILE` wrote:
forecasts of models that had not seen those candles. Parameters are then chosen on a year and
judged on the quarter after, over the candles that were forecast.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from finsight.backtesting import sweep, walk_forward, with_known
from finsight.domain.backtest import metadata_of
from finsight.domain.known_values import KnownValues
from finsight.settings import SentimentSettings, Settings
from finsight.wiring import load_sentiment_model

SHARED = Path(__file__).parents[2] / "shared/data"
COSTS = {"fee": 0.001, "slippage": 0.0005}
HALF_YEARS = {"train": 2 * 8_760, "test": 4_380, "purge": 168}
QUARTERS = {"train": 8_760, "test": 2_190, "purge": 24}
HOUR_MS = 3_600_000
SENTIMENT_GRID = {
    "window": [6, 12, 24, 48, 96, 168],
    "enter": [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4],
    "leave": [-0.2, -0.1, -0.05, 0.0, 0.05, 0.1],
}
FORECAST_GRID = {
    "enter": [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01],
    "leave": [-0.005, -0.002, 0.0],
    "stale": [6, 24],
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--candles", type=Path, default=SHARED / "candles/binance/BTC-USDT/1h.parquet"
    )
    options.add_argument("--headlines", type=Path, default=SHARED / "news/crypto_headlines.parquet")
    options.add_argument("--forecast", type=Path)
    chosen = options.parse_args()
    candles = pq.read_table(chosen.candles)
    scores = scored_headlines(chosen.headlines)
    beside = with_known(candles, sentiment=scores)
    judge("sentiment_momentum", beside, SENTIMENT_GRID, HALF_YEARS)
    if chosen.forecast is not None:
        expected = expected_returns(chosen.forecast)
        ts = candles.column("ts").to_numpy()
        ts = ts.astype("datetime64[ms]").astype(np.int64) if ts.dtype.kind == "M" else ts
        first, last = expected.known_at_ms[0], expected.known_at_ms[-1]
        rows = np.flatnonzero((ts >= first) & (ts <= last))
        forecast = candles.slice(int(rows[0]), len(rows))
        beside = with_known(forecast, forecast=expected)
        judge("forecast_threshold", beside, FORECAST_GRID, QUARTERS)


def expected_returns(file: Path) -> KnownValues:
    """The log return that each forecast expected over its horizon, known once its origin closed."""
    table = pq.read_table(file, columns=["series", "origin", "step", "last_close", "median"])
    if len(pc.unique(table.column("series"))) != 1:
        raise SystemExit(f"{file} holds several series; walk one coin forward: --coins BTC")
    table = table.filter(pc.equal(table.column("step"), pc.max(table.column("step"))))
    table = table.sort_by("origin")
    origin = table.column("origin").to_numpy().astype("datetime64[ms]").astype(np.int64)
    median, last = (table.column(name).to_numpy() for name in ("median", "last_close"))
    return KnownValues(origin + HOUR_MS, np.log(median / last))


def scored_headlines(file: Path) -> KnownValues:
    """Every headline about bitcoin, scored; known from when it was published."""
    table = pq.read_table(file, columns=["ts", "title", "tickers"])
    about = [
        "BTC" in (row["tickers"] or "").split(",") or "bitcoin" in row["title"].lower()
        for row in table.to_pylist()
    ]
    table = table.filter(about).sort_by("ts")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), sentiment=SentimentSettings(threads=2))
        model = load_sentiment_model(settings, "compact")
        titles = table.column("title").to_pylist()
        scores = [
            s.score for at in range(0, len(titles), 512) for s in model.score(titles[at : at + 512])
        ]
    print(f"scored {len(titles):,} headlines in {time.perf_counter() - started:.0f} s")
    return KnownValues(table.column("ts").to_numpy(), np.array(scores))


def judge(
    strategy: str, beside: Any, grid: Mapping[str, Sequence[float]], folds: Mapping[str, int]
) -> None:
    """Print what the strategy earned out of sample, beside holding, and how lucky its best was."""
    for direction in ("long", "both"):
        rolled = walk_forward(
            beside,
            strategy,
            grid,
            **folds,
            costs=COSTS,
            direction=direction,
        )
        own, chosen = rolled.statistics, rolled.notes["in_sample"]
        print(
            f"{strategy}, {direction}, out of sample, {rolled.notes['folds']} times "
            f"{folds['test']:,} candles: return {own['total_return']:.1%}, "
            f"Sharpe {own['sharpe']:.2f}, drawdown {own['max_drawdown']:.1%}, {own['trades']} "
            f"trades; held: {own['buy_and_hold_return']:.1%}; Sharpe where chosen {chosen:.2f}"
        )
    table = sweep(beside, strategy, grid, costs=COSTS)
    winner = metadata_of(table)["winner"]
    verdict = "significant" if winner["significant"] else "not significant: luck explains it"
    print(
        f"{strategy}, best of {table.num_rows} sets in sample: {winner['parameters']}, deflated "
        f"Sharpe {winner['deflated_sharpe']:.2f}, {verdict}"
    )


if __name__ == "__main__":
    main()
