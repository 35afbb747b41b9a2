"""Intervals measured on past errors: they hold what they say, and see nothing they shouldn't."""

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finsight.adapters.models.conformal_forecaster import FEWEST, ConformalForecaster
from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.domain.candle_table import CandleTable
from finsight.domain.forecast import QUANTILES
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ForecastInput
from finsight.services.forecast_judging import QUANTILE_COLUMNS, judge
from tests.builders import BTC_HOURLY, a_walk

MEDIAN = QUANTILES.index(0.5)
NORMAL = np.array([-1.96, -1.2816, 0.0, 1.2816, 1.96])


class RandomWalk:
    """A forecaster that knows all of a walk but how far it moves: it is wrong by `factor`."""

    name, version = "walk", "1"
    timeframe: Timeframe | None = None
    trained_on: frozenset[str] = frozenset()
    min_history, max_horizon = 5, 4

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.seen: list[np.ndarray] = []

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        self.seen += [one.closes for one in inputs]
        spread = 0.01 * self.factor * np.sqrt(np.arange(1, self.max_horizon + 1))
        moves = np.exp(spread[:, None] * NORMAL)
        return [one.closes[-1] * moves[: one.horizon] for one in inputs]


def asked(rows: int = 600, seed: int = 0, horizon: int = 4) -> ForecastInput:
    return ForecastInput(BTC_HOURLY, a_walk(rows, seed=seed).column("close"), horizon)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_intervals_hold_what_they_say_however_wrong_the_model_is(factor: float) -> None:
    candles = a_walk(6000, seed=3)
    rows = np.arange(700, 5900, 7)
    table = judge(
        ConformalForecaster(RandomWalk(factor)),
        NaiveForecaster(),
        "1",
        BTC_HOURLY,
        candles,
        rows,
        4,
    )
    close = table.column("close").to_numpy()
    for low, high, share in (("low_80", "high_80", 0.80), ("low_95", "high_95", 0.95)):
        inside = (table.column(low).to_numpy() <= close) & (close <= table.column(high).to_numpy())
        assert inside.mean() == pytest.approx(share, abs=0.02)


def test_medians_stay_and_quantiles_rise() -> None:
    for factor in (0.0, 0.3, 4.0):
        model = RandomWalk(factor)
        [path] = ConformalForecaster(model).forecast([asked()])
        [own] = model.forecast([asked()])
        assert np.array_equal(path[:, MEDIAN], own[:, MEDIAN])
        assert (np.diff(path, axis=1) >= 0).all()
        # A model that gives no interval has nothing to stretch.
        assert (factor == 0.0) == np.array_equal(path, own)


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one() -> None:
    [long], [short] = (
        ConformalForecaster(RandomWalk(2.0)).forecast([asked(horizon=h)]) for h in (4, 2)
    )
    assert np.array_equal(short, long[:2])


def test_every_error_used_had_closed_and_the_newest_that_had_is_among_them() -> None:
    model = RandomWalk(1.0)
    request = asked()
    ConformalForecaster(model).forecast([request])
    closes = list(request.closes)
    ends = sorted(closes.index(window[-1]) for window in model.seen)
    assert ends[-1] == len(closes) - 1  # the forecast itself
    assert ends[-2] == len(closes) - 1 - model.max_horizon
    assert all(len(window) == model.min_history for window in model.seen[1:])


def test_too_short_a_past_leaves_the_models_own_intervals_and_says_so() -> None:
    model = RandomWalk(3.0)
    wrapped = ConformalForecaster(model)
    enough = model.min_history + (FEWEST + 1) * model.max_horizon
    short, long = asked(enough - 1), asked(enough)
    assert np.array_equal(wrapped.forecast([short])[0], model.forecast([short])[0])
    assert f"{enough} candles are needed" in (wrapped.remark(short) or "")
    assert not np.array_equal(wrapped.forecast([long])[0], model.forecast([long])[0])
    assert wrapped.remark(long) is None


def test_company_changes_nothing_and_the_same_closes_are_measured_once() -> None:
    model = RandomWalk(2.0)
    wrapped = ConformalForecaster(model)
    inputs = [asked(seed=seed, rows=600 + seed) for seed in range(3)] + [asked(50)]
    together = wrapped.forecast(inputs)
    for one, path in zip(inputs, together, strict=True):
        assert np.array_equal(ConformalForecaster(RandomWalk(2.0)).forecast([one])[0], path)
    model.seen.clear()
    assert all(map(np.array_equal, wrapped.forecast(inputs), together))
    assert len(model.seen) == len(inputs)
    copied = pickle.loads(pickle.dumps(wrapped))
    assert all(map(np.array_equal, copied.forecast(inputs), together))


@settings(max_examples=15)
@given(
    origin=st.integers(200, 380),
    changed=st.lists(st.tuples(st.integers(1, 200), st.floats(0.5, 2.0)), min_size=1, max_size=20),
)
def test_candles_after_the_origin_change_no_forecast(
    origin: int, changed: list[tuple[int, float]]
) -> None:
    candles = a_walk(600, seed=1)
    closes = np.array(candles.column("close"))
    for after, factor in changed:
        closes[origin + after] *= factor
    other = CandleTable.from_columns(
        candles.ts_ms, closes, closes, closes, closes, candles.column("volume")
    )
    tables = [
        judge(
            ConformalForecaster(RandomWalk(2.0)),
            NaiveForecaster(),
            "1",
            BTC_HOURLY,
            one,
            [origin],
            4,
        )
        for one in (candles, other)
    ]
    before = ["scale", "square_scale", "last_close"]
    before += [prefix + name for name in QUANTILE_COLUMNS for prefix in ("", "naive_")]
    assert tables[0].select(before).equals(tables[1].select(before))
