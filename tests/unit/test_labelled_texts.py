"""Labels by their many names, splits by class, and no words in two parts."""

from collections import Counter

import pytest

from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import (
    CLASSES,
    LabelledText,
    make_splits,
    parse_label_order,
    read_labels,
    same_words,
    split_by_class,
)
from finsight.domain.sentiment import SentimentLabel

NEGATIVE, NEUTRAL, POSITIVE = CLASSES


def texts(per_class: int, prefix: str = "text") -> list[LabelledText]:
    return [
        LabelledText(f"{prefix} {label} {number}", label, "news.csv", number)
        for label in CLASSES
        for number in range(per_class)
    ]


def split(given: list[LabelledText], **changed: object) -> object:
    wanted = {"valid": None, "test": None, "valid_share": 0.25, "test_share": 0.0, "seed": 1}
    return make_splits(given, **{**wanted, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (["positive", "NEGATIVE", " neutral "], [POSITIVE, NEGATIVE, NEUTRAL]),
        (["Bullish", "bearish", "neu"], [POSITIVE, NEGATIVE, NEUTRAL]),
        (["-1", "0", "1"], [NEGATIVE, NEUTRAL, POSITIVE]),
        (["1.0", "-1.0"], [POSITIVE, NEGATIVE]),
        (["-2", "0", "2", "+1"], [NEGATIVE, NEUTRAL, POSITIVE, POSITIVE]),
        (["-1", "positive", "0"], [NEGATIVE, POSITIVE, NEUTRAL]),
        (["Very Positive", "slightly_negative", "strong buy"], [POSITIVE, NEGATIVE, POSITIVE]),
        (["up", "down", "flat"], [POSITIVE, NEGATIVE, NEUTRAL]),
        (["buy", "sell", "hold"], [POSITIVE, NEGATIVE, NEUTRAL]),
    ],
)
def test_labels_are_read_by_their_usual_names(raw: list[str], expected: list[str]) -> None:
    assert read_labels(raw) == expected


def test_numbers_that_mean_another_class_in_every_data_set_are_not_guessed() -> None:
    with pytest.raises(InvalidInput, match=r"differs from data set to data set.*--labels"):
        read_labels(["0", "1", "2"])
    order = parse_label_order("negative,positive,neutral")
    for names in (["0", "1", "2"], ["0.0", "1.0", "2.0"], ["LABEL_0", "label-1", "LABEL 2"]):
        assert read_labels(names, order) == [NEGATIVE, POSITIVE, NEUTRAL]
    with pytest.raises(InvalidInput, match="--labels"):
        read_labels(["LABEL_0", "LABEL_1"])
    with pytest.raises(InvalidInput, match=r"unknown labels: '3' \(1x\)"):
        read_labels(["0", "3"], order)


def test_an_order_may_name_more_numbers_than_classes() -> None:
    order = parse_label_order("very negative,negative,neutral,positive,very positive")
    assert read_labels(["0", "2", "4"], order) == [NEGATIVE, NEUTRAL, POSITIVE]


def test_scores_on_a_scale_are_no_classes() -> None:
    with pytest.raises(InvalidInput, match=r"numbers such as 0\.43, not classes"):
        read_labels(["0.43", "-0.2", "-1"])


def test_an_unknown_label_is_named_and_counted() -> None:
    with pytest.raises(InvalidInput, match=r"'great' \(2x\).*expected negative"):
        read_labels(["great", "positive", "great"])


@pytest.mark.parametrize("text", ["negative,positive", "negative,positive,positive", "a,b,c"])
def test_an_order_needs_each_class(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected the three classes, in"):
        parse_label_order(text)


def test_a_split_takes_the_same_share_of_every_class() -> None:
    given = texts(40)[:100]  # 40, 40, 20
    rest, chosen = split_by_class(given, 0.25, seed=3)
    assert Counter(text.label for text in chosen) == {NEGATIVE: 10, NEUTRAL: 10, POSITIVE: 5}
    assert sorted([*rest, *chosen], key=repr) == sorted(given, key=repr)
    assert split_by_class(given, 0.25, seed=3)[1] == chosen
    assert split_by_class(given, 0.25, seed=4)[1] != chosen


def test_case_marks_and_addresses_do_not_make_another_text() -> None:
    assert same_words("Bitcoin rises! https://t.co/x") == same_words("bitcoin  RISES")
    assert same_words("Bitcoin rises") != same_words("Bitcoin falls")
    assert same_words("!!!") == "!!!"


def test_words_that_stand_in_two_parts_leave_training_and_are_counted() -> None:
    train, valid, test = texts(10), texts(3, "valid"), texts(3, "test")
    shared = LabelledText("TEXT positive 1!", POSITIVE, "valid.csv", 1)
    both = LabelledText("test neutral 0", NEUTRAL, "valid.csv", 2)
    splits = split(train, valid=[*valid, shared, both], test=test)
    assert splits.removed == 2
    assert len(splits.train) == 29
    assert both not in splits.valid
    assert list(splits.test) == test
    parts = [{same_words(t.text) for t in part} for part in (splits.train, splits.valid)]
    assert not parts[0] & parts[1]


def test_words_with_two_labels_leave_training_and_are_counted() -> None:
    doubted = [
        LabelledText("Shares moved.", POSITIVE, "news.csv", 91),
        LabelledText("shares MOVED", NEGATIVE, "news.csv", 92),
    ]
    again = LabelledText("text positive 1!", POSITIVE, "news.csv", 93)
    splits = split([*texts(10), *doubted, again], valid=texts(3, "valid"))
    assert splits.contradicting == 2
    assert again in splits.train
    assert {"Shares moved.", "shares MOVED"}.isdisjoint(text.text for text in splits.train)


def test_a_part_that_contradictions_left_too_small_says_so() -> None:
    against = [LabelledText(t.text, POSITIVE, "b.csv", t.row) for t in texts(10)[:5]]
    with pytest.raises(InvalidInput, match=r"5 negative.*10 were left out: repeated or contra"):
        split([*texts(10), *against], valid=texts(3, "valid"))


def test_one_class_only_is_refused() -> None:
    with pytest.raises(InvalidInput, match="one class: nothing to learn from"):
        split([text for text in texts(20) if text.label is SentimentLabel.POSITIVE])


def test_too_few_texts_are_refused_with_their_counts() -> None:
    with pytest.raises(InvalidInput, match=r"3 negative, 3 neutral, 3 positive.*at least 8"):
        split(texts(4))
