"""Texts whose sentiment somebody has judged: their labels' names, duplicates and splits."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from finsight.domain.errors import InvalidInput
from finsight.domain.long_texts import readable
from finsight.domain.sentiment import SentimentLabel

CLASSES = (SentimentLabel.NEGATIVE, SentimentLabel.NEUTRAL, SentimentLabel.POSITIVE)
"""The order of the classes wherever one is a number."""

_NAMES = {
    "negative": SentimentLabel.NEGATIVE,
    "neg": SentimentLabel.NEGATIVE,
    "bearish": SentimentLabel.NEGATIVE,
    "-1": SentimentLabel.NEGATIVE,
    "neutral": SentimentLabel.NEUTRAL,
    "neu": SentimentLabel.NEUTRAL,
    "positive": SentimentLabel.POSITIVE,
    "pos": SentimentLabel.POSITIVE,
    "bullish": SentimentLabel.POSITIVE,
}
_NOT_A_WORD = re.compile(r"[\W_]+")
_SHOWN = 5


@dataclass(frozen=True)
class LabelledText:
    """One text, its label, and where it was read (a file, and a row counted from 1).

    `weight` is how far the label is to be trusted, above 0 and at most 1.
    """

    text: str
    label: SentimentLabel
    file: str
    row: int
    weight: float = 1.0


@dataclass(frozen=True)
class Splits:
    """What is learnt from, what chooses the best epoch, and what neither has seen.

    `removed` counts the texts left out of `train` or `valid` because the same words
    stand in `valid` or `test`.
    """

    train: tuple[LabelledText, ...]
    valid: tuple[LabelledText, ...]
    test: tuple[LabelledText, ...] = ()
    removed: int = 0


def read_labels(
    raw: Sequence[str], order: Sequence[SentimentLabel] | None = None
) -> list[SentimentLabel]:
    """Return the label that each of `raw` names.

    Words ("positive", "Bearish", "neu") and -1, 0, 1 are understood. 0, 1, 2 mean another
    class in every data set: they are read as `order` says, and refused without it.

    Raises:
        InvalidInput: names the labels that aren't understood, and what would be.
    """
    names = [_plain(value) for value in raw]
    known = set(names)
    table = dict(_NAMES)
    if order is not None:
        table.update({str(number): label for number, label in enumerate(order)})
    elif known <= {"-1", "0", "1"} and "-1" in known:
        table.update({"0": SentimentLabel.NEUTRAL, "1": SentimentLabel.POSITIVE})
    elif known & {"0", "1", "2"}:
        raise InvalidInput(
            f"the labels are {', '.join(sorted(known)[:_SHOWN])}, and which number is which class "
            "differs from data set to data set; say what 0, 1 and 2 are, as in "
            "--labels negative,neutral,positive"
        )
    unknown = Counter(name for name in names if name not in table)
    if unknown:
        shown = ", ".join(f"'{name}' ({count}x)" for name, count in unknown.most_common(_SHOWN))
        raise InvalidInput(
            f"unknown labels: {shown}; expected negative, neutral and positive (or bearish and "
            "bullish, or -1, 0 and 1; for 0, 1 and 2 say --labels)"
        )
    return [table[name] for name in names]


def parse_label_order(text: str) -> tuple[SentimentLabel, ...]:
    """Read "negative,neutral,positive": the classes that 0, 1 and 2 stand for.

    Raises: InvalidInput.
    """
    order = tuple(_NAMES.get(_plain(part)) for part in text.split(","))
    if set(order) != set(CLASSES) or len(order) != len(CLASSES):
        raise InvalidInput(
            f"--labels {text}: expected the three classes once each, in the order of their "
            "numbers, such as negative,neutral,positive"
        )
    return tuple(label for label in order if label is not None)


def same_words(text: str) -> str:
    """Return what two texts share that are the same but for case, marks and addresses."""
    words = _NOT_A_WORD.sub(" ", readable(text).casefold()).strip()
    return words or text


def split_by_class(
    texts: Sequence[LabelledText], share: float, seed: int
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Return (the rest, `share` of `texts`), each class split alike and by `seed` alone."""
    chosen: set[int] = set()
    shuffling = random.Random(seed)
    for label in CLASSES:
        own = [index for index, text in enumerate(texts) if text.label is label]
        shuffling.shuffle(own)
        chosen.update(own[: round(len(own) * share)])
    rest = [text for index, text in enumerate(texts) if index not in chosen]
    return rest, [text for index, text in enumerate(texts) if index in chosen]


def make_splits(
    texts: Sequence[LabelledText],
    *,
    valid: Sequence[LabelledText] | None,
    test: Sequence[LabelledText] | None,
    valid_share: float,
    test_share: float,
    seed: int,
) -> Splits:
    """Split `texts` by class, keep what is given apart, and let no words stand in two parts.

    What is also in the test part leaves the others; what is also in the validation part
    leaves the training part. So the parts that measure stay whole.

    Raises:
        InvalidInput: a class is missing from training or validation, or has too few texts.
    """
    rest = list(texts)
    if test is None and test_share > 0:
        rest, test = split_by_class(rest, test_share, seed)
    if valid is None:
        rest, valid = split_by_class(rest, valid_share, seed)
    tested = {same_words(text.text) for text in test or ()}
    checked = [text for text in valid if same_words(text.text) not in tested]
    seen = tested | {same_words(text.text) for text in checked}
    learnt = [text for text in rest if same_words(text.text) not in seen]
    removed = len(valid) - len(checked) + len(rest) - len(learnt)
    _require_classes("training", learnt, at_least=8)
    _require_classes("validation", checked, at_least=1)
    return Splits(tuple(learnt), tuple(checked), tuple(test or ()), removed)


def _require_classes(part: str, texts: Sequence[LabelledText], at_least: int) -> None:
    """Raises: InvalidInput (says how many texts of each class there are)."""
    counts = Counter(text.label for text in texts)
    found = ", ".join(f"{counts[label]} {label}" for label in CLASSES)
    if len([label for label in CLASSES if counts[label]]) == 1:
        raise InvalidInput(f"all {len(texts)} {part} texts have one class: nothing to learn from")
    if min(counts[label] for label in CLASSES) < at_least:
        raise InvalidInput(
            f"the {part} part has {found}; each class needs at least {at_least}: add labelled texts"
        )


def _plain(value: str) -> str:
    name = value.strip().strip("\"'").casefold()
    # Tables with a gap in the column hold whole numbers as 1.0.
    return name.removesuffix(".0")
