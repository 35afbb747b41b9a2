"""A new champion beside its predecessor, on the same candles."""

from collections.abc import Iterator

import numpy as np

from finsight.domain.accuracy import ForecastError
from finsight.domain.forecast import Role
from finsight.domain.timeframe import Timeframe
from finsight.services.live_watch import LOOKS, LiveRecord, compare_live, first_origin
from tests.builders import BTC_HOURLY, ETH_HOURLY, HOUR, NOON
from tests.unit.test_accuracy import an_error

HORIZON, EVERY = 6, 8
LOOK = HORIZON * EVERY
NEW, OLD = ("PatchTST", "2"), ("PatchTST", "1")


def errors_of(
    named: tuple[str, str], losses: np.ndarray, **given: object
) -> Iterator[ForecastError]:
    first = an_error(model=named[0], model_version=named[1], horizon=HORIZON, naive_mase=1.0)
    for number, loss in enumerate(losses):
        # Copied and not checked anew: some tests have a hundred thousand of them.
        origin = NOON + number * HOUR
        yield first.model_copy(update={"origin": origin, "mase": float(loss)} | given)


def compare(own: np.ndarray, old: np.ndarray) -> LiveRecord:
    errors = [*errors_of(NEW, own), *errors_of(OLD, old, role=Role.SHADOW)]
    return compare_live(errors, NEW, OLD, NOON, Timeframe.H1, HORIZON, EVERY)


def overlapping(rng: np.random.Generator, origins: int) -> np.ndarray:
    """Losses as forecasts of neighbouring origins have them: their candles are mostly the same."""
    noise = rng.standard_t(4, origins + HORIZON - 1)
    return np.abs(2 + np.convolve(noise, np.ones(HORIZON) / HORIZON, "valid"))


def test_one_that_is_off_by_half_as_much_again_is_clearly_worse() -> None:
    base = overlapping(np.random.default_rng(1), LOOK)
    record = compare(1.5 * base, base)
    assert record.clearly_worse
    assert (record.origins, record.looked_at) == (LOOK, LOOK)
    assert record.evidence()["mase"] == 1.5 * base.mean()
    assert record.evidence()["mase_before"] == base.mean()


def test_one_that_is_better_stays_and_after_four_looks_the_watch_is_over() -> None:
    base = overlapping(np.random.default_rng(2), LOOKS * LOOK)
    record = compare(0.9 * base, base)
    assert not record.clearly_worse
    assert record.over
    assert not compare(0.9 * base[:-1], base[:-1]).over


def test_before_the_first_look_nothing_is_said_however_bad_it_is() -> None:
    base = np.ones(LOOK - 1)
    record = compare(9 * base, base)
    assert (record.origins, record.looked_at, record.clearly_worse) == (LOOK - 1, 0, False)
    assert record.evidence() == {"origins": 0.0}


def test_looking_between_two_looks_finds_nothing_new() -> None:
    base = overlapping(np.random.default_rng(3), 2 * LOOK - 1)
    own = base.copy()
    own[LOOK:] *= 5
    record = compare(own, base)
    assert (record.origins, record.looked_at, record.clearly_worse) == (2 * LOOK - 1, LOOK, False)


def test_an_equally_good_one_is_sent_back_in_about_one_case_of_a_hundred() -> None:
    rng = np.random.default_rng(4)
    cases, alarms = 80, 0
    for _ in range(cases):
        own, old = (overlapping(rng, LOOKS * LOOK) for _ in range(2))
        looks = [looks * LOOK for looks in range(1, LOOKS + 1)]
        alarms += any(compare(own[:look], old[:look]).clearly_worse for look in looks)
    assert alarms <= 2


def test_only_the_same_origins_series_and_horizon_since_it_serves_are_compared() -> None:
    base = np.ones(10)
    errors = [
        *errors_of(NEW, base),
        *errors_of(OLD, base[:7]),
        *errors_of(OLD, base, series=ETH_HOURLY),
        *errors_of(NEW, base, horizon=3, series=ETH_HOURLY),
        *errors_of(("naive", "2"), base, series=ETH_HOURLY),
    ]
    since = NOON + 2 * HOUR
    record = compare_live(errors, NEW, OLD, since, Timeframe.H1, HORIZON, EVERY)
    assert record.origins == 5


def test_an_origin_counts_once_however_many_series_it_has() -> None:
    base = np.ones(LOOK)
    errors = [
        *errors_of(NEW, 3 * base),
        *errors_of(OLD, base),
        *errors_of(NEW, base, series=ETH_HOURLY),
        *errors_of(OLD, base, series=ETH_HOURLY),
    ]
    record = compare_live(errors, NEW, OLD, NOON, Timeframe.H1, HORIZON, EVERY)
    assert (record.looked_at, record.mase, record.mase_before) == (LOOK, 2.0, 1.0)


def test_the_first_origin_is_the_newest_candle_that_had_closed() -> None:
    ten_past = NOON + HOUR / 6
    first = first_origin(ten_past, BTC_HOURLY.timeframe)
    assert NOON - 2 * HOUR < first < NOON - HOUR
