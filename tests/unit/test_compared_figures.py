"""Figures that a text compares are told apart, and nothing else is touched."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from finsight.domain.compared_figures import with_comparisons
from finsight.domain.long_texts import readable

# As financial news writes them; no sentence of these is from anywhere.
MARKED = [
    ("Bitcoin sinks from $71K to $64K", "Bitcoin sinks from $71K to lower $64K"),
    ("Ether at $2,310, up from $2,180", "Ether at higher $2,310, up from $2,180"),
    ("Acme Q2 EPS 84 cents vs. $1.02", "Acme Q2 EPS lower 84 cents vs. $1.02"),
    ("Turnover was 7.1 against 6.9 billion", "Turnover was higher 7.1 against 6.9 billion"),
    ("Costs were EUR 7,5 mn (EUR 7,2 mn)", "Costs were higher EUR 7,5 mn (EUR 7,2 mn)"),
    (
        "EBIT was EUR6 .1 m , compared to EUR900 ,000",
        "EBIT was higher EUR6 .1 m , compared to EUR900 ,000",
    ),
    (
        "A loss of SEK 4 mn compared to a loss of SEK 9 mn",
        "A loss of higher SEK 4 mn compared to a loss of SEK 9 mn",
    ),
    ("The net loss widened to 6 from 4", "The net loss widened to lower 6 from 4"),
    ("A profit of 4 compared with a loss of 7", "A profit of higher 4 compared with a loss of 7"),
    (
        "Cash flow was a negative $3 mn, compared to $2 mn",
        "Cash flow was a negative lower $3 mn, compared to $2 mn",
    ),
    ("Loss shrank 40 % to $3 mn from $5 mn", "Loss shrank 40 % to higher $3 mn from $5 mn"),
    (
        "Sales of £61 mn ($78 mn) in 2019, down from £64 mn",
        "Sales of lower £61 mn ($78 mn) in 2019, down from £64 mn",
    ),
    (
        "It expects $4.1 to $4.3 vs. $4.5 to $4.7 before",
        "It expects lower $4.1 to $4.3 vs. $4.5 to $4.7 before",
    ),
    ("Output rose from 21 000 to 24 000 tonnes", "Output rose from 21 000 to higher 24 000 tonnes"),
    ("The rate is 3.5 % versus 3.5 %", "The rate is unchanged 3.5 % versus 3.5 %"),
    (
        "EPS of $0.61, beating analyst estimates of $0.58",
        "EPS of higher $0.61, beating analyst estimates of $0.58",
    ),
    (
        "Compared with $3 mn a year ago , sales were $4 mn",
        "Compared with $3 mn a year ago , sales were higher $4 mn",
    ),
    (
        "Profit fell to $4 mn from $6 mn , while sales rose to $80 mn from $70 mn",
        "Profit fell to lower $4 mn from $6 mn , while sales rose to higher $80 mn from $70 mn",
    ),
    (
        "Profit of $5 mn on sales of $50 mn, against a profit of $3 mn",
        "Profit of higher $5 mn on sales of $50 mn, against a profit of $3 mn",
    ),
    ("Sales of $9 mn beat the $8 mn consensus", "Sales of higher $9 mn beat the $8 mn consensus"),
]
LEFT_ALONE = [
    "",
    "Shares gained 4 % to $31",
    "It will pay between 3 and 5 % , a margin of 1.5 %-2 %",
    "The 3.5 mln euro $ 4.5 mln order was signed on 3 May 2011",
    "Prices range from $5 to $10",
    "Open from 9 am to 5 pm , 12 March to 14 March",
    "It bought 5 million shares from 3 banks in 2009",
    "Sales rose by 12 % from the third quarter of 2008",
    "The 62-year-old has 40 shops in 7 countries",
    "lower $4 mn compared with $5 mn",
]
HOSTILE = [
    "1 " * 50_000,
    "$1 €2 " * 30_000,
    "from " * 40_000 + "1 to 2",
    "1 and 2 " * 20_000,
    "rose to 5 from 4 " * 8_000,
    "higher $ " * 20_000 + "1 vs 2",
    "1" * 100_000 + " 2",
    "1,000" * 20_000,
    "(1) " * 25_000,
    "1" + " " * 100_000 + "2",
]
WORDS = [
    "higher", "lower", "unchanged", "from", "to", "compared", "with", "versus", "5", "7.5",
    "3,000", "$", "$4", "EUR", "6", "mn", "%", "loss", "of", "a", "profit", "rose", "fell",
    "down", "up", "(", ")", ",", ".", "-", "-2", "and", "while", "2009", "consensus", "cents",
    "m", "K", "euro",
]  # fmt: skip
TEXTS = st.text() | st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)


def _without_words(marked: str, text: str) -> bool:
    """Whether `marked` is `text` with nothing but the three words put in."""
    ends = {0}
    for piece in re.split(r"((?:higher|lower|unchanged) )", marked):
        word = piece in {"higher ", "lower ", "unchanged "}
        kept = {end + len(piece) for end in ends if text.startswith(piece, end)}
        ends = kept | ends if word else kept
    return len(text) in ends


@pytest.mark.parametrize(("text", "marked"), MARKED)
def test_a_compared_figure_is_marked(text: str, marked: str) -> None:
    assert with_comparisons(text) == marked


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_is_no_comparison_is_left_alone(text: str) -> None:
    assert with_comparisons(text) == text


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_take_no_longer_than_their_length(text: str) -> None:
    # Where it stepped back for every letter, the test's own time limit would end it.
    assert len(with_comparisons(text)) >= len(text)


@given(TEXTS)
@example("x$5 vs $4")
@example("lower $ lower 5 vs 6")
def test_only_words_are_put_in_and_only_once(text: str) -> None:
    marked = with_comparisons(text)
    assert _without_words(marked, text)
    assert with_comparisons(marked) == marked


@given(
    st.integers(1, 99_999),
    st.integers(1, 99_999),
    st.sampled_from(["EUR {} mn", "${}", "{} %", "{} mln euro", "£{}bn", "{} cents", "{}"]),
)
def test_any_two_figures_of_one_kind_are_ordered(new: int, base: int, shape: str) -> None:
    word = "higher" if new > base else "lower" if new < base else "unchanged"
    one, two = (shape.format(number / 10) for number in (new, base))
    text = f"It was {one}, compared with {two}"
    assert with_comparisons(text) == f"It was {word} {one}, compared with {two}"


def test_of_several_comparisons_each_is_marked_once() -> None:
    marked = with_comparisons("It rose from 3 % to 5 %, and fell from 9 % to 8 %")
    assert re.findall(r"(higher|lower) (\d)", marked) == [("higher", "5"), ("lower", "8")]


def test_only_models_that_learnt_it_read_so() -> None:
    assert readable("EPS 3  vs 4 cents") == "EPS 3 vs 4 cents"
    assert (
        readable("EPS 3 cents  vs 4 cents", compare_figures=True) == "EPS lower 3 cents vs 4 cents"
    )
