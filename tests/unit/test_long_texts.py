"""Splitting long texts, and putting their parts' scores together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finsight.domain.long_texts import readable, weighed_mean, windows


@given(st.lists(st.sampled_from(["up", "down", ".", "!"]), max_size=200), st.integers(1, 40))
def test_parts_cover_every_token_once_in_order(tokens: list[str], longest: int) -> None:
    parts = windows(tokens, longest)
    assert [token for part in parts for token in tokens[part]] == tokens
    assert all(len(tokens[part]) <= longest for part in parts)
    assert all(len(tokens[part]) > 0 for part in parts) or not tokens


def test_a_part_ends_with_a_sentence_where_one_ends_in_its_second_half() -> None:
    tokens = list("abcde.fghi")
    assert windows(tokens, 8) == [slice(0, 6), slice(6, 10)]


def test_a_sentence_that_ends_early_does_not_make_a_tiny_part() -> None:
    tokens = list("a.bcdefghi")
    assert windows(tokens, 8) == [slice(0, 8), slice(8, 10)]


def test_a_short_text_is_one_part() -> None:
    assert windows(["a", ".", "b"], 3) == [slice(0, 3)]
    assert windows([], 3) == [slice(0, 0)]


def test_web_addresses_are_not_read() -> None:
    assert readable("Bitcoin  rises https://t.co/abc (www.example.com/x) today") == (
        "Bitcoin rises ( today"
    )


def test_a_text_of_nothing_but_an_address_stays() -> None:
    assert readable(" https://t.co/abc ") == "https://t.co/abc"


def test_longer_parts_weigh_more() -> None:
    parts = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert weighed_mean(parts, [30, 10]).tolist() == pytest.approx([0.75, 0.0, 0.25])
