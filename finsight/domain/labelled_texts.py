"""Texts whose sentiment somebody has judged: their labels' names, duplicates and splits."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from finsight.domain.errors import InvalidInput
from finsight.domain.long_texts import readable
from finsight.domain.sentiment import SentimentLabel

SEEN_FILE = "texts_seen.txt"
"""Where a model's folder keeps what it was trained and validated on, a `seen_mark` a line."""

CLASSES = (SentimentLabel.NEGATIVE, SentimentLabel.NEUTRAL, SentimentLabel.POSITIVE)
"""The order of the classes wherever one is a number."""

_NAMES = {
    SentimentLabel.NEGATIVE: ("negative", "neg", "bearish", "bear", "down", "sell", "-1"),
    SentimentLabel.NEUTRAL: ("neutral", "neu", "flat", "unchanged", "hold"),
    SentimentLabel.POSITIVE: ("positive", "pos", "bullish", "bull", "up", "buy"),
}
_LABELS = {name: label for label, names in _NAMES.items() for name in names}
_DEGREE = re.compile(
    r"^(?:very|extremely|highly|strong(?:ly)?|somewhat|moderately|slightly|mildly|weak(?:ly)?)[\s_-]+"
)
_HUB_NUMBER = re.compile(r"^label[\s_-]*(\d+)$")
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
    stand in `valid` or `test`; `contradicting` those left out of `train` because the same
    words stand there with another label.
    """

    train: tuple[LabelledText, ...]
    valid: tuple[LabelledText, ...]
    test: tuple[LabelledText, ...] = ()
    removed: int = 0
    contradicting: int = 0


def label_named(name: str) -> SentimentLabel | None:
    """Return the class that a word such as "Bearish" or "very positive" names, else None."""
    plain = _plain(name)
    return _LABELS.get(plain) or _LABELS.get(_DEGREE.sub("", plain))


def read_labels(
    raw: Sequence[str], order: Sequence[SentimentLabel] | None = None
) -> list[SentimentLabel]:
    """Return the label that each of `raw` names.

    Words ("positive", "Bearish", "very negative", "buy") and numbers around 0 (-1, 0, 1)
    are understood. 0, 1, 2 (or LABEL_0, LABEL_1, LABEL_2) mean another class in every data
    set: they are read as `order` says, and refused without it.

    Raises:
        InvalidInput: names the labels that aren't understood, and what would be.
    """
    names = [_plain(value) for value in raw]
    known = set(names)
    numbers = {name: int(name) for name in known if re.fullmatch(r"-?\d+", name)}
    table = {name: label for name in known if (label := label_named(name)) is not None}
    if order is not None:
        table.update({str(number): label for number, label in enumerate(order)})
    elif numbers and min(numbers.values()) < 0:
        table.update({name: _by_sign(number) for name, number in numbers.items()})
    elif numbers:
        raise InvalidInput(
            f"the labels are {', '.join(sorted(known)[:_SHOWN])}, and which number is which class "
            "differs from data set to data set; say what 0, 1 and 2 are, as in "
            "--labels negative,neutral,positive"
        )
    unknown = Counter(name for name in names if name not in table)
    if unknown and all(_is_fraction(name) for name in unknown):
        raise InvalidInput(
            f"the labels are numbers such as {next(iter(unknown))}, not classes; decide from where "
            "on a text is positive or negative, and write negative, neutral or positive"
        )
    if unknown:
        shown = ", ".join(f"'{name}' ({count}x)" for name, count in unknown.most_common(_SHOWN))
        raise InvalidInput(
            f"unknown labels: {shown}; expected negative, neutral and positive (or bearish and "
            "bullish, or -1, 0 and 1; for 0, 1 and 2 say --labels)"
        )
    return [table[name] for name in names]


def parse_label_order(text: str) -> tuple[SentimentLabel, ...]:
    """Read "negative,neutral,positive": the classes that 0, 1 and 2 stand for.

    More numbers than classes may be named: "very negative,negative,neutral,positive,very
    positive".

    Raises: InvalidInput.
    """
    order = tuple(label_named(part) for part in text.split(","))
    if set(order) != set(CLASSES):
        raise InvalidInput(
            f"--labels {text}: expected the three classes, in the order of their numbers, such as "
            "negative,neutral,positive"
        )
    return tuple(label for label in order if label is not None)


def same_words(text: str) -> str:
    """Return what two texts share that are the same but for case, marks and addresses."""
    words = _NOT_A_WORD.sub(" ", readable(text).casefold()).strip()
    return words or text


def seen_mark(text: str) -> str:
    """Stands for a text and all that have the same words, without telling them."""
    return hashlib.sha256(same_words(text).encode()).hexdigest()[:16]


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
    leaves the training part. So the parts that measure stay whole. Words that stand in
    training with two labels teach nothing and leave it.

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
    agreeing = _without_contradictions(learnt)
    contradicting = len(learnt) - len(agreeing)
    _require_classes("training", agreeing, at_least=8, left_out=removed + contradicting)
    _require_classes("validation", checked, at_least=1)
    return Splits(tuple(agreeing), tuple(checked), tuple(test or ()), removed, contradicting)


def _without_contradictions(texts: Sequence[LabelledText]) -> list[LabelledText]:
    labels: dict[str, set[SentimentLabel]] = {}
    for text in texts:
        labels.setdefault(same_words(text.text), set()).add(text.label)
    return [text for text in texts if len(labels[same_words(text.text)]) == 1]


def _require_classes(
    part: str, texts: Sequence[LabelledText], at_least: int, left_out: int = 0
) -> None:
    """Raises: InvalidInput (says how many texts of each class there are)."""
    counts = Counter(text.label for text in texts)
    found = ", ".join(f"{counts[label]} {label}" for label in CLASSES)
    if len([label for label in CLASSES if counts[label]]) == 1:
        raise InvalidInput(f"all {len(texts)} {part} texts have one class: nothing to learn from")
    if min(counts[label] for label in CLASSES) < at_least:
        also = f" ({left_out} were left out: repeated or contradicting)" if left_out else ""
        raise InvalidInput(
            f"the {part} part has {found}{also}; each class needs at least {at_least}: add "
            "labelled texts"
        )


def _plain(value: str) -> str:
    name = value.strip().strip("\"'").strip().casefold()
    # Tables with a gap in the column hold whole numbers as 1.0.
    name = re.sub(r"^([+-]?\d+)\.0*$", r"\1", name).removeprefix("+")
    numbered = _HUB_NUMBER.match(name)
    return numbered[1] if numbered else name


def _by_sign(number: int) -> SentimentLabel:
    if number == 0:
        return SentimentLabel.NEUTRAL
    return SentimentLabel.POSITIVE if number > 0 else SentimentLabel.NEGATIVE


def _is_fraction(name: str) -> bool:
    return re.fullmatch(r"[+-]?\d*\.\d+", name) is not None
