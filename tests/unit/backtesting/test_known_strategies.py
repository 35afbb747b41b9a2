"""Sentiment and forecasts beside the candles: used from when they were known, never before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finsight.backtesting import check, run, sweep, walk_forward, with_known
from finsight.backtesting.candle_arrays import candle_arrays, closed_ms, part
from finsight.backtesting.known_indicators import forecast_move, sentiment_trend
from finsight.domain.errors import InvalidInput
from finsight.domain.known_values import KnownValues
from finsight.domain.timeframe import to_ms
from tests.builders import NOON, a_walk
from tests.unit.backtesting.histories import HOUR_MS, candles_of

START = to_ms(NOON)
FLAT = candles_of([100.0] * 10, [100.0] * 10)


def known(*pairs: tuple[float, float]) -> KnownValues:
    """Values by the hours after the first candle opened."""
    return KnownValues(
        np.array([START + int(hours * HOUR_MS) for hours, _ in pairs], dtype=np.int64),
        np.array([value for _, value in pairs]),
    )


def test_an_article_counts_from_the_close_of_the_candle_it_became_known_in():
    arrays = candle_arrays(with_known(FLAT, sentiment=known((2.0, 0.4), (2.5, 0.8), (7.99, -1.0))))
    trend = sentiment_trend(arrays, window=2)
    # Candle 1 closes at hour 2, the very moment of the first article; candle 2 at hour 3.
    expected = [np.nan, 0.4, 0.6, 0.8, np.nan, np.nan, np.nan, -1.0, -1.0, np.nan]
    np.testing.assert_allclose(trend, expected)


def test_a_forecast_says_nothing_once_it_is_stale():
    arrays = candle_arrays(with_known(FLAT, forecast=known((1.0, 0.02), (4.5, -0.01))))
    move = forecast_move(arrays, stale=2)
    expected = [0.02, 0.02, np.nan, np.nan, -0.01, -0.01, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(move, expected)


def test_ten_candles_by_hand():
    closes = [100.0, 100, 100, 110, 121, 121, 121, 100, 100, 100]
    opens = [100.0, 100, 100, 100, 110, 121, 121, 121, 100, 100]
    beside = with_known(candles_of(opens, closes), sentiment=known((1.5, 0.9), (4.5, -0.9)))
    found = run(beside, "sentiment_momentum", {"window": 1, "enter": 0.5, "leave": 0.0})
    [trade] = found.trades.to_pylist()
    # Known in candle 1, bought at the open of candle 2; bad news in 4, sold at the open of 5.
    assert (trade["entry_bar"], trade["exit_bar"]) == (2, 5)
    assert trade["entry_price"] == 100.0
    assert trade["exit_price"] == 121.0
    assert found.statistics["total_return"] == pytest.approx(0.21)


def test_a_short_position_mirrors_a_long_one():
    closes = [100.0, 100, 100, 90, 80, 80, 80, 80, 80, 80]
    opens = [100.0, *closes[:-1]]
    beside = with_known(candles_of(opens, closes), forecast=known((1.5, -0.02), (4.5, 0.02)))
    found = run(beside, "forecast_threshold", {"enter": 0.01, "stale": 24}, direction="short")
    [trade] = found.trades.to_pylist()
    assert (trade["entry_bar"], trade["exit_bar"], trade["side"]) == (2, 5, -1)
    assert trade["pnl"] > 0


def test_what_became_known_later_changes_nothing_before():
    candles = a_walk(400, seed=3)
    random = np.random.default_rng(4)
    first = to_ms(candles.first_opened_at)
    at = np.sort(first + random.integers(0, 400 * HOUR_MS, 150))
    scores = KnownValues(at, random.uniform(-1, 1, 150))
    for strategy, beside in (
        ("sentiment_momentum", with_known(candles, sentiment=scores)),
        ("forecast_threshold", with_known(candles, forecast=scores)),
    ):
        assert check(beside, strategy, {"enter": 0.1}).found is False
    arrays = candle_arrays(with_known(candles, sentiment=scores))
    early = part(arrays, 0, 100)
    assert early.sentiment_known_ms.max() <= closed_ms(early)[-1]
    np.testing.assert_array_equal(sentiment_trend(early, 24), sentiment_trend(arrays, 24)[:100])


def test_a_sweep_and_a_walk_forward_take_the_same_candles_with_what_was_known():
    candles = a_walk(600, seed=5)
    first = to_ms(candles.first_opened_at)
    at = first + np.arange(0, 600, 3) * HOUR_MS
    move = KnownValues(at, np.random.default_rng(6).normal(0, 0.01, len(at)))
    beside = with_known(candles, forecast=move)
    grid = {"enter": [0.002, 0.01], "leave": [0.0], "stale": [3, 24]}
    table = sweep(beside, "forecast_threshold", grid)
    assert table.num_rows == 4
    alone = run(beside, "forecast_threshold", {"enter": 0.002, "leave": 0.0, "stale": 3})
    assert table.column("total_return")[0].as_py() == alone.statistics["total_return"]
    assert alone.statistics["trades"] > 10
    rolled = walk_forward(beside, "forecast_threshold", grid, train=200, test=100)
    assert rolled.notes["folds"] == 4


def test_other_values_make_another_fingerprint():
    one = run(with_known(FLAT, sentiment=known((1.0, 0.5))), "sentiment_momentum")
    other = run(with_known(FLAT, sentiment=known((1.0, 0.6))), "sentiment_momentum")
    assert one.provenance.data_fingerprint != other.provenance.data_fingerprint
    assert run(FLAT, "buy_and_hold").provenance.data_fingerprint != one.provenance.data_fingerprint


def test_a_strategy_without_what_it_reads_says_how_to_give_it():
    with pytest.raises(InvalidInput, match=r"reads the sentiment .*with_known"):
        run(FLAT, "sentiment_momentum")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"at": [1], "value": [0.5]}), "needs the columns known_at and value"),
        (pa.table({"known_at": ["today"], "value": [0.5]}), "timestamps or UTC milliseconds"),
        (pa.table({"known_at": pa.array([None], pa.int64()), "value": [0.5]}), "without a known"),
        (pa.table({"known_at": [1], "value": [float("nan")]}), "row 0 is nan"),
    ],
)
def test_values_that_cannot_be_used_are_refused(table: pa.Table, message: str):
    with pytest.raises(InvalidInput, match=message):
        with_known(FLAT, sentiment=table)


def test_real_headlines_beside_real_candles(shared_data: Path):
    """The strategy runs on the recorded headlines; a crude word list stands in for the model."""
    headlines = pq.read_table(shared_data / "news/crypto_headlines.parquet")
    titles = [str(title).lower() for title in headlines.column("title").to_pylist()]
    rises, falls = ("surge", "rally"), ("crash", "hack")
    score = np.array([any(w in t for w in rises) - any(w in t for w in falls) for t in titles])
    times = headlines.column("ts").to_numpy()
    about = np.flatnonzero(score)
    candles = pq.read_table(shared_data / "candles/binance/BTC-USDT/1h.parquet")
    order = about[np.argsort(times[about])]
    beside = with_known(candles, sentiment=KnownValues(times[order], score[order].astype(float)))
    found = run(beside, "sentiment_momentum", {"window": 24, "enter": 0.5}, costs={"fee": 0.001})
    assert found.statistics["trades"] > 100
    assert check(beside, "sentiment_momentum", histories=3).found is False
