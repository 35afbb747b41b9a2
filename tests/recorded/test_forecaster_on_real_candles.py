"""PatchTST beside naive on real hourly candles: printed, and sane; better is not asserted."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from finsight.adapters.models.neural_training import fit_neural
from finsight.domain.candle_table import CandleTable
from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.history import History
from finsight.domain.timeframe import Timeframe

COINS = ("BTC", "ETH", "LTC")


def test_the_held_out_error_stays_near_naive(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    candles = {
        f"binance:{coin}-USDT:1h": CandleTable.from_arrow(
            pq.read_table(shared_data / "candles" / "binance" / f"{coin}-USDT" / "1h.parquet")
        ).tail(2500)
        for coin in COINS
    }
    histories = {key: History.of_candles(table, Timeframe.H1) for key, table in candles.items()}
    metrics = fit_neural(histories, ForecasterRecipe(steps=200), "1h").metrics
    with capsys.disabled():
        print(
            f"\nPatchTST on {', '.join(COINS)} hourly, 24 ahead, held-out part: "
            f"{metrics['held_out_ratio_to_naive']:.3f} of naive's error, "
            f"80 % interval holds {metrics['held_out_coverage_80']:.0%}, "
            f"95 % holds {metrics['held_out_coverage_95']:.0%}, "
            f"trained in {metrics['training_seconds']:.1f} s"
        )
    # A model that lost its scale, or sees the future, is far outside.
    assert 0.8 < metrics["held_out_ratio_to_naive"] < 1.2
    assert 0.5 < metrics["held_out_coverage_80"] < 0.98
    assert metrics["held_out_coverage_80"] <= metrics["held_out_coverage_95"]
