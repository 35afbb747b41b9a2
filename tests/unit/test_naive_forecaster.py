"""The naive forecaster: numbers worked out by hand."""

import numpy as np
import pytest

from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.domain.errors import InvalidInput
from finsight.ports.models import ForecastInput
from tests.builders import BTC_HOURLY


def forecast(closes: np.ndarray, horizon: int) -> np.ndarray:
    return NaiveForecaster().forecast([ForecastInput(BTC_HOURLY, closes, horizon)])[0]


def test_the_median_is_the_last_close_at_every_step() -> None:
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, 200)))
    assert forecast(closes, 24)[:, 2] == pytest.approx(np.full(24, closes[-1]))


def test_intervals_are_the_quantiles_of_its_own_past_errors() -> None:
    # The price doubles and halves in turn: one step ahead it was wrong by ±log 2 as often,
    # two steps ahead it was always right.
    closes = np.tile([100.0, 200.0], 51)[:101]
    one, two = forecast(closes, 2)
    assert closes[-1] == 100.0
    assert one == pytest.approx([50.0, 50.0, 100.0, 200.0, 200.0])
    assert two == pytest.approx([100.0] * 5)


def test_a_price_that_only_rose_keeps_the_median_inside_its_intervals() -> None:
    closes = 100 * 1.01 ** np.arange(100.0)
    rows = forecast(closes, 5)
    assert (np.diff(rows, axis=1) >= 0).all()
    assert rows[0, 4] == pytest.approx(closes[-1] * 1.01)
    assert rows[0, 0] == pytest.approx(closes[-1])


def test_too_little_history_says_what_is_needed() -> None:
    with pytest.raises(InvalidInput, match="has 53 usable candles; 24 candles ahead need at least"):
        forecast(np.full(53, 100.0), 24)
    assert forecast(np.full(54, 100.0), 24).shape == (24, 5)


@pytest.mark.parametrize("closes", [[np.nan] * 60, [0.0] * 60, [-1.0] * 60])
def test_closes_that_are_no_prices_are_refused(closes: list[float]) -> None:
    with pytest.raises(InvalidInput, match="positive numbers"):
        forecast(np.array(closes), 3)
