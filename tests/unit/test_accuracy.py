"""How wrong forecasts were: numbers worked out by hand."""

from datetime import timedelta

import numpy as np
import pytest

from finsight.domain.accuracy import (
    ForecastError,
    accuracy_records,
    one_step_scale,
    score_forecast,
    summarise,
    wilson_interval,
)
from finsight.domain.candle_table import CandleTable
from finsight.domain.forecast import Basis, Forecast, ForecastStep
from finsight.domain.timeframe import Timeframe
from tests.builders import BTC_HOURLY, ETH_HOURLY, HOUR, NOON, a_candle

LATER = NOON + timedelta(days=1)


def a_forecast(medians: list[float], **given: object) -> Forecast:
    """From NOON, last close 100; naive stands at 100; 80 % is ±2, 95 % is ±4."""

    def path(values: list[float]) -> tuple[ForecastStep, ...]:
        return tuple(
            ForecastStep(
                opened_at=NOON + (k + 1) * HOUR,
                median=value,
                low_80=value - 2,
                high_80=value + 2,
                low_95=value - 4,
                high_95=value + 4,
            )
            for k, value in enumerate(values)
        )

    values = {
        "id": "f",
        "series": BTC_HOURLY,
        "origin": NOON,
        "made_at": NOON + HOUR,
        "last_close": 100.0,
        "model": "PatchTST",
        "model_version": "1",
        "basis": Basis.EXACT_SERIES,
        "reason": "test",
        "steps": path(medians),
        "naive": path([100.0] * len(medians)),
    }
    return Forecast.model_validate(values | given)


def closes_after_noon(closes: dict[int, float]) -> CandleTable:
    """Closes by how many hours after NOON their candle opened."""
    return CandleTable.from_candles(
        [a_candle(opened_at=NOON + k * HOUR, close=c) for k, c in closes.items()]
    )


def an_error(**given: object) -> ForecastError:
    values = {
        "forecast_id": "f",
        "series": BTC_HOURLY,
        "model": "PatchTST",
        "model_version": "1",
        "origin": NOON,
        "horizon": 4,
        "candles": 4,
        "mae": 1.0,
        "naive_mae": 2.0,
        "mase": 1.0,
        "naive_mase": 2.0,
        "coverage_80": 0.5,
        "coverage_95": 1.0,
        "direction_right": True,
        "scored_at": LATER,
    }
    return ForecastError.model_validate(values | given)


def test_error_coverage_and_direction_are_those_worked_out_by_hand() -> None:
    # Medians 101, 102, 103, 104; closes 102, 99, 103, 110: errors 1, 3, 0, 6; naive 2, 1, 3, 10.
    candles = closes_after_noon({1: 102.0, 2: 99.0, 3: 103.0, 4: 110.0})
    error = score_forecast(a_forecast([101, 102, 103, 104]), candles, scale=2.0, scored_at=LATER)
    assert error is not None
    assert (error.mae, error.naive_mae) == (2.5, 4.0)
    assert (error.mase, error.naive_mase) == (1.25, 2.0)
    assert (error.coverage_80, error.coverage_95) == (0.5, 0.75)
    assert error.direction_right is True


def test_a_missing_candle_is_not_counted_and_not_filled() -> None:
    candles = closes_after_noon({0: 50.0, 2: 99.0, 9: 50.0})
    error = score_forecast(a_forecast([101, 102, 103, 104]), candles, scale=None, scored_at=LATER)
    assert error is not None
    assert (error.candles, error.horizon, error.mae, error.mase) == (1, 4, 3.0, None)
    assert error.direction_right is False


def test_without_any_candle_of_the_horizon_there_is_no_score() -> None:
    assert score_forecast(a_forecast([101.0]), closes_after_noon({5: 99.0}), 1.0, LATER) is None


def test_who_says_that_nothing_moves_has_no_direction() -> None:
    candles = closes_after_noon({1: 105.0})
    error = score_forecast(a_forecast([100.0]), candles, 1.0, LATER)
    assert error is not None
    assert error.direction_right is None


def test_the_scale_is_the_mean_change_between_neighbours_only() -> None:
    # Changes 2 and 4; the jump over the missing candle is not one step.
    history = closes_after_noon({0: 100.0, 1: 102.0, 2: 98.0, 4: 150.0})
    assert one_step_scale(history, Timeframe.H1) == 3.0


@pytest.mark.parametrize("closes", [{0: 100.0}, {0: 100.0, 1: 100.0}, {0: 100.0, 2: 110.0}])
def test_a_price_that_never_moved_by_one_step_has_no_scale(closes: dict[int, float]) -> None:
    assert one_step_scale(closes_after_noon(closes), Timeframe.H1) is None


def test_the_wilson_interval_is_the_textbook_one() -> None:
    # 8 of 10: 0.490 to 0.943 (Wilson 1927; Newcombe 1998 gives the same).
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-4)
    assert wilson_interval(0, 5)[0] == 0.0
    assert wilson_interval(5, 5)[1] == 1.0


def test_the_summary_weighs_candles_and_compares_with_naive() -> None:
    errors = [
        an_error(mase=1.0, naive_mase=2.0, candles=4, coverage_80=0.5, direction_right=True),
        an_error(mase=2.0, naive_mase=2.0, candles=12, coverage_80=1.0, direction_right=False),
        an_error(mase=None, naive_mase=None, candles=4, coverage_80=1.0, direction_right=None),
    ]
    record = summarise(errors)
    assert (record.forecasts, record.candles) == (3, 20)
    assert (record.mean_mase, record.mean_naive_mase, record.ratio_to_naive) == (1.5, 2.0, 0.75)
    assert record.coverage_80 == pytest.approx(0.9)
    assert (record.directions, record.direction_share) == (2, 0.5)
    assert record.direction_low == pytest.approx(0.0945, abs=5e-4)
    assert record.direction_high == pytest.approx(0.9055, abs=5e-4)


def test_records_keep_series_models_and_versions_apart() -> None:
    errors = [
        an_error(),
        an_error(),
        an_error(model_version="2"),
        an_error(model="naive"),
        an_error(series=ETH_HOURLY),
    ]
    records = accuracy_records(errors)
    assert [(r.series, r.model, r.model_version, r.forecasts) for r in records] == [
        (BTC_HOURLY, "PatchTST", "1", 2),
        (BTC_HOURLY, "PatchTST", "2", 1),
        (BTC_HOURLY, "naive", "1", 1),
        (ETH_HOURLY, "PatchTST", "1", 1),
    ]
    assert np.isclose(records[0].ratio_to_naive or 0, 0.5)
