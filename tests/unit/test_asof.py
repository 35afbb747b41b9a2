"""Nothing is known before it was known."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finsight.domain.asof import as_of, mean_known

times = st.integers(-50, 50)
facts = st.lists(st.tuples(times, st.floats(-1, 1)), max_size=30)
moments = st.lists(times, max_size=20).map(lambda given: np.array(given, dtype=np.int64))


def columns(rows):
    known = np.array([row[0] for row in rows], dtype=np.int64)
    return known, np.array([row[1] for row in rows], dtype=np.float64)


def test_the_last_value_known_by_then_is_taken():
    joined = as_of(np.array([9, 10, 19, 20, 21]), np.array([10, 20]), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(joined, [np.nan, 1.0, 1.0, 2.0, 2.0])


def test_the_order_in_which_facts_are_given_does_not_matter():
    joined = as_of(np.array([15, 25]), np.array([20, 10]), np.array([2.0, 1.0]))
    np.testing.assert_array_equal(joined, [1.0, 2.0])


@given(moments, facts)
def test_agrees_with_looking_through_everything_known(left, rows):
    known, values = columns(rows)
    expected = []
    for moment in left:
        past = sorted((row for row in rows if row[0] <= moment), key=lambda row: row[0])
        expected.append(past[-1][1] if past else np.nan)
    np.testing.assert_array_equal(as_of(left, known, values), expected)


@given(moments, facts, times, st.floats(-1, 1), st.integers(0, 100))
def test_changing_the_future_never_changes_the_past(left, rows, now, changed, shift):
    known, values = columns(rows)
    later = known > now
    other_known = np.where(later, known + shift, known)
    other_values = np.where(later, changed, values)
    past = left[left <= now]
    np.testing.assert_array_equal(
        as_of(past, known, values), as_of(past, other_known, other_values)
    )
    for before, after in zip(
        mean_known(past, known, values, 10),
        mean_known(past, other_known, other_values, 10),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)


@given(moments, facts, st.integers(1, 60))
def test_a_trend_is_the_mean_of_each_value_in_its_window_once(left, rows, window):
    known, values = columns(rows)
    means, counts = mean_known(left, known, values, window)
    for moment, mean, count in zip(left, means, counts, strict=True):
        inside = [value for at, value in rows if moment - window < at <= moment]
        assert count == len(inside)
        if inside:
            np.testing.assert_allclose(mean, np.mean(inside), atol=1e-9)
        else:
            assert np.isnan(mean)
