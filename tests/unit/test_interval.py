"""Arithmetic on spans of time."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from finsight.domain.interval import Interval, subtract, union
from tests.builders import NOON

MINUTE = timedelta(minutes=1)
MOST = 40


def span(start: int, end: int) -> Interval:
    return Interval(NOON + start * MINUTE, NOON + end * MINUTE)


spans = st.lists(st.builds(span, st.integers(0, MOST), st.integers(0, MOST)), max_size=8)


def minutes(intervals: list[Interval]) -> set[int]:
    return {
        minute
        for start, end in intervals
        for minute in range((start - NOON) // MINUTE, (end - NOON) // MINUTE)
    }


def assert_tidy(intervals: list[Interval]) -> None:
    assert all(start < end for start, end in intervals)
    for before, after in pairwise(intervals):
        assert before.end < after.start


@given(spans)
def test_a_union_has_the_same_moments_in_few_spans(some: list[Interval]) -> None:
    assert minutes(union(some)) == minutes(some)
    assert_tidy(union(some))


@given(spans, spans)
def test_what_is_left_is_wanted_and_not_had(wanted: list[Interval], had: list[Interval]) -> None:
    left = subtract(wanted, had)
    assert minutes(left) == minutes(wanted) - minutes(had)
    assert_tidy(left)


@given(spans, spans)
def test_what_is_left_and_what_was_had_make_up_both(
    wanted: list[Interval], had: list[Interval]
) -> None:
    assert union([*subtract(wanted, had), *had]) == union([*wanted, *had])


def test_touching_spans_are_one() -> None:
    assert union([span(2, 3), span(0, 1), span(1, 2)]) == [span(0, 3)]
