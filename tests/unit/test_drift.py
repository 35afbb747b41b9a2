"""PSI against figures worked out by hand, and drift that is there and that is not."""

import math

import numpy as np
import pytest

from finsight.domain.drift import (
    DriftReport,
    DriftState,
    FeatureDrift,
    candle_features,
    error_drift,
    feature_drift,
    population_stability_index,
    usual_psi,
)
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe
from tests.builders import HOUR, NOON, a_walk, candles_at

RNG = np.random.default_rng(0)


def test_psi_of_two_bins_is_what_the_formula_gives() -> None:
    # 100 values half below and half above; then a quarter below: half a value more in each.
    reference = np.repeat([0.0, 1.0], 50)
    newest = np.repeat([0.0, 1.0], [25, 75])
    p, q = np.array([0.5, 0.5]), np.array([25.5, 75.5]) / 101
    by_hand = float(((q - p) * np.log(q / p)).sum())
    assert population_stability_index(reference, newest, bins=2) == pytest.approx(by_hand)


def test_psi_of_the_same_population_is_about_what_chance_makes_it() -> None:
    found = [
        population_stability_index(RNG.normal(size=2000), RNG.normal(size=500)) for _ in range(200)
    ]
    expected = 9 * (1 / 2000 + 1 / 500)  # Yurdakul 2018
    assert np.mean(found) == pytest.approx(expected, rel=0.15)


def test_an_empty_bin_is_no_infinity() -> None:
    psi = population_stability_index(RNG.normal(size=500), np.full(100, 9.0))
    assert math.isfinite(psi)
    assert psi > 3


@pytest.mark.parametrize("values", [np.ones(49), np.array([np.nan] * 100)])
def test_too_few_and_wrong_values_are_refused(values: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match=r"too few|not finite"):
        population_stability_index(np.ones(100), values)


def test_a_wider_spread_has_drifted_and_the_same_has_not() -> None:
    reference = RNG.normal(size=20_000)
    assert feature_drift("x", reference, 2 * RNG.normal(size=720)).state is DriftState.DRIFTED
    same = feature_drift("x", reference, RNG.normal(size=720))
    assert same.state is DriftState.STABLE
    assert same.usual is not None
    assert same.usual < 0.1


def test_what_comes_and_goes_has_not_drifted_however_large_its_psi() -> None:
    # Calm and wild months by turns: a wild one has a large PSI, as every third of the past had.
    wild = np.arange(30) % 3 == 0
    past = np.concatenate([RNG.normal(size=720) * (3 if w else 1) for w in wild])
    newest = feature_drift("volatility", np.abs(past), np.abs(3 * RNG.normal(size=720)))
    assert newest.psi > 0.25
    assert newest.state is DriftState.MODERATE
    assert usual_psi(np.abs(past), 720) == pytest.approx(newest.usual)


def test_features_count_only_neighbours_as_steps() -> None:
    candles = candles_at(NOON, NOON + HOUR, NOON + 5 * HOUR)
    features = candle_features(candles, Timeframe.H1)
    assert features["log_return"].tolist() == [0.0]
    assert "volume_ratio" not in features
    walk = a_walk(100)
    volumes = walk.column("volume")
    ratio = candle_features(walk, Timeframe.H1)["volume_ratio"]
    assert ratio[0] == pytest.approx(math.log(volumes[24] / volumes[:24].mean()))
    assert ratio[-1] == pytest.approx(math.log(volumes[-1] / volumes[-25:-1].mean()))
    assert len(ratio) == 76


def test_errors_that_rose_have_drifted_and_those_that_did_not_have_not() -> None:
    before, lately = RNG.normal(-0.1, 0.5, 2000), RNG.normal(0.3, 0.5, 500)
    worse = error_drift([*before, *lately], newest=500, horizon=24)
    assert worse.state is DriftState.DRIFTED
    assert (worse.origins_before, worse.origins_lately) == (2000, 500)
    better = error_drift([*lately, *before], newest=500, horizon=24)
    assert better.state is DriftState.STABLE


def test_overlapping_errors_raise_no_false_alarm() -> None:
    # Each loss is the mean of 24 steps that its neighbours share: few of them are new.
    alarms = 0
    for _ in range(100):
        steps = RNG.normal(size=1500 + 23)
        losses = np.convolve(steps, np.ones(24) / 24, mode="valid")
        alarms += error_drift(losses.tolist(), 240, 24).state is DriftState.DRIFTED
    assert alarms <= 5


def test_too_few_errors_say_nothing() -> None:
    with pytest.raises(InvalidInput, match="3 forecasts before and 9 lately are too few"):
        error_drift([0.0] * 12, 9, 24)


def test_a_rule_hears_what_is_beyond_its_threshold_and_unusual() -> None:
    def report(psi: float, usual: float | None) -> DriftReport:
        one = FeatureDrift(
            feature="range",
            series="binance:BTC-USDT:1h",
            psi=psi,
            usual=usual,
            state=DriftState.DRIFTED,
            reference=1,
            newest=1,
        )
        return DriftReport(model="m", version="1", measured_at=NOON, features=(one,))

    assert report(0.31, 0.2).beyond(0.25) == "PSI of range of binance:BTC-USDT:1h is 0.31"
    assert report(0.31, None).beyond(0.25) is not None
    assert report(0.31, 0.4).beyond(0.25) is None
    assert report(0.31, 0.2).beyond(0.35) is None
