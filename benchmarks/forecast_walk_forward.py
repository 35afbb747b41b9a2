"""PatchTST beside naive on real hourly candles, walked forward over a year.

`python -m benchmarks.forecast_walk_forward [--until 2026-05-16] [--days 365] [--every 6]
[--refit-every 2190] [--coins BTC ETH …] [--pictures FOLDER] [--ray]`

The model is trained anew every so many candles (2,190 is a quarter of a year) on what had
closed by then, by the settings' recipe; each forecast sees the closes up to its origin. It is
what serves: intervals measured on past errors included. Naive stands beside it on the same
origins. Whether the model is better is printed, not asserted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pyarrow.parquet as pq

from finsight.commands.forecaster_judging import print_verdict
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.timeframe import Timeframe
from finsight.services.forecast_judging import Span
from finsight.settings import Settings
from finsight.training.evaluate_forecaster import printing, write_evaluation
from finsight.training.forecaster_evaluation import find_origins, judge_refitted
from finsight.wiring import default_recipe

SHARED = Path(__file__).parents[2] / "shared" / "data" / "candles" / "binance"
COINS = ("BTC", "ETH", "ADA", "BNB", "LINK", "LTC", "XRP")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--candles", type=Path, default=SHARED, help="holds COIN-USDT/1h.parquet")
    options.add_argument("--coins", nargs="+", default=COINS)
    options.add_argument("--until", type=datetime.fromisoformat, default=datetime(2026, 5, 16))  # noqa: DTZ001
    options.add_argument("--days", type=int, default=365)
    options.add_argument("--every", type=int, default=6)
    options.add_argument("--refit-every", type=int, default=2190)
    options.add_argument("--out", type=Path)
    options.add_argument("--pictures", type=Path)
    options.add_argument("--ray", action="store_true", help="over a local Ray, on all CPUs")
    chosen = options.parse_args()
    candles = {
        Series(exchange="binance", symbol=f"{coin}/USDT", timeframe=Timeframe.H1): (
            CandleTable.from_arrow(pq.read_table(chosen.candles / f"{coin}-USDT" / "1h.parquet"))
        )
        for coin in chosen.coins
    }
    if chosen.ray:
        import ray

        ray.init(address="local", include_dashboard=False, log_to_driver=False)
    until = chosen.until.replace(tzinfo=UTC)
    settings = Settings(data_dir=Path(tempfile.gettempdir()) / "finsight-benchmark")
    recipe = default_recipe(settings)
    span = Span(until - timedelta(days=chosen.days), until, chosen.every, recipe.horizon)
    began = time.perf_counter()
    rows, notes = find_origins(candles, Timeframe.H1, span, recipe.input_size)
    evaluation = judge_refitted(
        settings, "PatchTST", recipe, candles, rows, span, chosen.refit_every, progress=printing()
    )
    seconds = time.perf_counter() - began
    write_evaluation(evaluation, chosen.out, chosen.pictures)
    print_verdict(evaluation.verdict)
    print(*notes, f"{seconds:.0f} s, trainings included", sep="\n")


if __name__ == "__main__":
    main()
