"""Two years of real hourly candles: 80 % means 80 %, though the model is wrong by half."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from finsight.adapters.models.conformal_forecaster import ConformalForecaster
from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ForecastInput
from finsight.services.forecast_judging import judge

HORIZON, WINDOW = 24, 168
NORMAL = np.array([-1.96, -1.2816, 0.0, 1.2816, 1.96])


class HalfAsWild:
    """A random walk with half the volatility of the last week."""

    name, version = "walk", "1"
    timeframe = Timeframe.H1
    trained_on: frozenset[str] = frozenset()
    min_history, max_horizon = WINDOW, HORIZON

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        windows = np.log(np.stack([one.closes[-WINDOW:] for one in inputs]))
        spread = 0.5 * np.diff(windows, axis=1).std(axis=1)
        moves = np.sqrt(np.arange(1, HORIZON + 1))[:, None] * NORMAL
        paths = np.exp(windows[:, -1, None, None] + spread[:, None, None] * moves)
        return [path[: one.horizon] for path, one in zip(paths, inputs, strict=True)]


@pytest.mark.parametrize("coin", ["BTC", "LINK"])
def test_intervals_hold_what_they_say(shared_data: Path, coin: str) -> None:
    file = shared_data / "candles" / "binance" / f"{coin}-USDT" / "1h.parquet"
    candles = CandleTable.from_arrow(pq.read_table(file)).tail(21_000)
    series = Series(exchange="binance", symbol=f"{coin}/USDT", timeframe=Timeframe.H1)
    rows = np.arange(len(candles) - 2 * 8760, len(candles) - HORIZON, 31)

    def held(model: ConformalForecaster | HalfAsWild, low: str, high: str) -> float:
        table = judge(model, NaiveForecaster(), "1", series, candles, rows, HORIZON)
        close, lows, highs = (table.column(name).to_numpy() for name in ("close", low, high))
        return float(((lows <= close) & (close <= highs)).mean())

    assert held(HalfAsWild(), "low_80", "high_80") < 0.65
    calibrated = ConformalForecaster(HalfAsWild())
    assert 0.77 <= held(calibrated, "low_80", "high_80") <= 0.83
    assert 0.93 <= held(calibrated, "low_95", "high_95") <= 0.97
