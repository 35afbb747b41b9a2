"""Figures that a text compares are told apart, and nothing else is touched."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finsight.domain.compared_figures import with_comparisons
from finsight.domain.long_texts import readable

# As financial news writes them; no sentence of these is from anywhere.
COMPARED = [
    ("Margin was 13.6 %, compared to 14.3 % in Q2 2009", "lower 13.6 %"),
    ("EPS came in at 0.34 eur compared with 0.16 eur a year ago", "higher 0.34 eur"),
    ("Profit was EUR 17.7 mn, against EUR 17.6 mn", "higher EUR 17.7 mn"),
    ("Sales of $950 mln vs. $1.1 bln a year ago", "lower $950 mln"),
    ("Profit stood at EUR0 .07 versus EUR0 .11", "lower EUR0 .07"),
    ("Profit rose to 37,7 mn from 37,2 mn", "higher 37,7 mn"),
    ("Profit jumped to EUR928 ,000 from EUR13 ,000", "higher EUR928 ,000"),
    ("Profit was EUR 2 mn, compared to EUR 900,000", "higher EUR 2 mn"),
    ("Sales were $3.22 vs. $3.32 bln", "lower $3.22"),
    ("EPS of $1.00 vs. 40 cents", "higher $1.00"),
    ("Sales were 27.4 billion, down 2 percent from 28.1 billion", "lower 27.4 billion"),
    ("Profit was 3.5 mln euro $ 4.5 mln in 2006, from 2.2 mln euro $ 2.8 mln", "higher 3.5 mln"),
    ("Bitcoin fell from $70K to $60K", "lower $60K"),
    ("Its share grew from 25 % to 31 %", "higher 31 %"),
    ("EPS 74 cents; consensus 86 cents", "lower 74 cents"),
    ("Sales up 1.1%; analysts' consensus up 2.0%", "lower 1.1%"),
    ("Earnings of $2.10, ahead of estimates of $1.95", "higher $2.10"),
    ("It sees growth of 1.5%-2%, compared with 3%", "lower 1.5%-2%"),
    ("The rate was 3.5% vs 3.5%", "unchanged 3.5%"),
]  # fmt: skip
LOSSES = [
    ("The loss was EUR 0.3 mn, compared to a loss of EUR 2.2 mn", "higher EUR 0.3 mn"),
    ("The loss widened to EUR 4.8 m from EUR 2.3 m", "lower EUR 4.8 m"),
    ("A loss of EUR 18 mn, compared to a profit of EUR 7 mn", "lower EUR 18 mn"),
    ("It posted a 1.49 million loss compared with a 1.70 million profit", "lower 1.49 million"),
    ("A profit of EUR 3 mn, from a loss of EUR 5 mn", "higher EUR 3 mn"),
    ("Cash flow was a negative EUR 3 mn, compared to EUR 1 mn", "lower EUR 3 mn"),
    ("EBIT was EUR -0.4 mn, compared to EUR -0.1 mn", "lower EUR -0.4 mn"),
    ("Sales down 2%; consensus down 0.9%", "lower 2%"),
]
UNTOUCHED = [
    "Bitcoin rose 5 % on Monday",
    "The drives range from 200 kW to 2 MW",
    "Costs range from 70 million to 90 million euros",
    "The fiscal year ended October 31, 2006, from which a loss remained",
    "Profit rose from EUR 13 m, while sales increased from EUR 394 m, as compared to 2005",
    "Profit was EUR 5 mn, compared to 12 % of sales",
    "It paid $5 mln, compared with EUR 4 mln",
    "Founded in 2005, it moved from Oslo in 2010",
    "",
]


@pytest.mark.parametrize(("text", "marked"), COMPARED + LOSSES)
def test_the_figure_that_is_compared_is_marked(text: str, marked: str) -> None:
    found = with_comparisons(text)
    assert marked in found
    # One word more, and else what it was.
    assert re.sub(r"\b(?:higher|lower|unchanged) (?=\S)", "", found) == text


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_is_not_compared_stays(text: str) -> None:
    assert with_comparisons(text) == text


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("Sales fell to $5 from $6, and profit rose to $3 from $2", ["lower", "higher"]),
        ("EPS $1.69 vs. $1.56; consensus $1.81", ["higher"]),
        ("From 3 % to 5 %, and from 9 % to 8 %", ["higher", "lower"]),
    ],
)  # fmt: skip
def test_of_several_comparisons_each_is_marked_once(text: str, marks: list[str]) -> None:
    assert re.findall(r"\b(?:higher|lower|unchanged)\b", with_comparisons(text)) == marks


@given(
    st.integers(1, 10**7).map(lambda cents: cents / 100),
    st.integers(1, 10**7).map(lambda cents: cents / 100),
    st.sampled_from(["EUR {} mn", "${}", "{} %", "{} million euros", "{} BTC"]),
    st.sampled_from(["It was {}, compared with {}", "It came to {} against {}", "Now {} vs. {}"]),
)
def test_any_two_figures_of_a_kind_are_ordered(
    now: float, then: float, unit: str, said: str
) -> None:
    text = said.format(unit.format(f"{now:.2f}"), unit.format(f"{then:.2f}"))
    word = "higher" if now > then else "lower" if now < then else "unchanged"
    assert with_comparisons(text).replace(f"{word} ", "", 1) == text
    assert f" {word} " in with_comparisons(text)


@given(st.text(alphabet="0123456789 .,%$-fromtvs()EURmnloss", max_size=300))
def test_anything_at_all_keeps_its_own_letters(text: str) -> None:
    found = with_comparisons(text)
    assert re.sub(r"(?:higher|lower|unchanged) ", "", found) == text
    assert with_comparisons(found) == found


def test_hostile_texts_take_no_longer_than_their_length() -> None:
    for text in (
        "1 " * 50_000,
        "$1 €2 " * 30_000,
        "from " * 40_000 + "1 to 2",
        "1 and 2 " * 20_000,
    ):
        # Where it stepped back for every letter, the test's own time limit would end it.
        assert len(with_comparisons(text)) >= len(text)


def test_only_models_that_learnt_it_read_so() -> None:
    assert readable("EPS 3  vs 4 cents") == "EPS 3 vs 4 cents"
    assert (
        readable("EPS 3 cents  vs 4 cents", compare_figures=True) == "EPS lower 3 cents vs 4 cents"
    )
