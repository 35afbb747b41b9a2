"""Indicators against pandas, and against Wilder's own definition."""

import numpy as np
import pandas as pd
import pytest

from finsight.backtesting import indicators, marks
from tests.builders import a_walk

CLOSE = np.array(a_walk(2_000, seed=5).column("close"))
SERIES = pd.Series(CLOSE)


@pytest.mark.parametrize("window", [1, 2, 7, 200])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (indicators.simple_average, lambda w: SERIES.rolling(w).mean()),
        (
            indicators.exponential_average,
            lambda w: SERIES.ewm(span=w, adjust=False, min_periods=w).mean(),
        ),
        (indicators.deviation, lambda w: SERIES.rolling(w).std(ddof=0)),
        (indicators.earlier_highest, lambda w: SERIES.rolling(w).max().shift(1)),
        (indicators.earlier_lowest, lambda w: SERIES.rolling(w).min().shift(1)),
    ],
)
def test_agrees_with_pandas(ours, theirs, window):
    np.testing.assert_allclose(ours(CLOSE, window), theirs(window), rtol=1e-9, atol=1e-7)


def test_the_deviation_does_not_drift():
    steady = np.concatenate([1e6 * CLOSE[:100], np.full(3_000, 7.0)])
    assert indicators.deviation(steady, 20)[-1] == 0.0


def test_the_relative_strength_is_wilders():
    # Rises 1, 2, fall 1, rise 3, fall 2; window 3.
    close = np.array([10.0, 11, 13, 12, 15, 13])
    up, down = 3 / 3, 1 / 3  # the means of the first three changes
    expected = [100 * up / (up + down)]
    up, down = (2 * up + 3) / 3, 2 * down / 3
    expected.append(100 * up / (up + down))
    up, down = 2 * up / 3, (2 * down + 2) / 3
    expected.append(100 * up / (up + down))
    found = indicators.relative_strength(close, 3)
    assert np.isnan(found[:3]).all()
    assert found[3:] == pytest.approx(expected)


def test_the_relative_strength_of_a_price_that_stands_still_is_in_the_middle():
    assert indicators.relative_strength(np.full(10, 5.0), 3)[-1] == 50.0


def crossings(a, b, shift=0):
    events = np.zeros(len(a), dtype=np.uint8)
    before, room = np.zeros(2, dtype=np.uint8), np.empty(marks.AT_ONCE, dtype=np.uint8)
    lines = np.array(a, float), np.array(b, float)
    marks.mark_crossings(0, *lines, 1, 2, shift, events, before, room)
    return events.tolist()


def test_a_crossing_is_marked_once_and_shifted_to_its_execution():
    assert crossings([1, 3, 3, 1], [2, 2, 2, 2]) == [0, 1, 0, 2]
    assert crossings([1, 3, 3, 1], [2, 2, 2, 2], shift=1) == [0, 0, 1, 0]


def test_what_starts_above_has_not_crossed():
    assert crossings([3, 3, 1, 3], [2, 2, 2, 2]) == [0, 0, 2, 1]


def test_nothing_crosses_while_there_is_no_value_yet():
    assert crossings([np.nan, np.nan, 3, 1], [2, 2, 2, 2]) == [0, 0, 0, 2]


def test_touching_is_not_crossing_until_it_goes_on():
    assert crossings([1, 2, 3], [2, 2, 2]) == [0, 0, 1]
