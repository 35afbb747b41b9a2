"""Figures that a text compares, compared: an encoder reads digits in pieces and can't.

"EPS came to 0.25 euros, compared with 0.42" says that earnings fell, but in no word. Marked,
it reads "EPS came to lower 0.25 euros, compared with 0.42", which a small model understands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

COMPARES_FIGURES = "finsight_compares_figures"
"""What a model's files say, where it was trained on texts that went through here."""

_CURRENCIES = {
    "$": "usd", "us$": "usd", "usd": "usd", "usdt": "usd", "€": "eur", "eur": "eur",
    "euro": "eur", "euros": "eur", "£": "gbp", "gbp": "gbp", "sek": "sek", "nok": "nok",
    "dkk": "dkk", "crowns": "kr", "rub": "rub", "eek": "eek", "ltl": "ltl", "lt": "ltl",
    "litas": "ltl", "lvl": "lvl", "btc": "btc", "eth": "eth",
}  # fmt: skip
_MAGNITUDES = {
    "k": 1e3, "thousand": 1e3, "m": 1e6, "mn": 1e6, "mln": 1e6, "mil": 1e6, "million": 1e6,
    "b": 1e9, "bn": 1e9, "bln": 1e9, "billion": 1e9, "tn": 1e12, "trillion": 1e12,
}  # fmt: skip
_SHARES = ("%", "percent", "per cent", "pct")
_CENTS = ("c", "cent", "cents")


def _any_of(*words: str) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_FIGURE = re.compile(
    rf"(?<![\w.,])(?:(?P<before>{_any_of(*_CURRENCIES)})\s?)?(?P<sign>[-−+])?"
    r"(?P<number>\d+(?:\s?,\d{3}(?!\d))*(?:\s?\.\d+|,\d{1,2}(?!\d))?)"
    rf"(?:\s?(?P<kind>{_any_of(*_MAGNITUDES, *_SHARES, *_CENTS)})(?!\w))?"
    rf"(?(before)|(?:\s?(?P<after>{_any_of(*(c for c in _CURRENCIES if c.isalpha()))})(?!\w))?)"
    r"(?![\w]|-[a-z])",
    re.IGNORECASE,
)
_THAN = r"(?<!\w)(?:from|compared (?:to|with)|in comparison (?:to|with)|against|versus|vs)(?!\w)"
_COMPARED = re.compile(rf"^[^\d;]{{0,70}}{_THAN}[^\d;]{{0,70}}$", re.IGNORECASE)
_EXPECTED = re.compile(
    r"^[^\d]{0,45}(?<!\w)(?:consensus|(?:estimates?|expectations?|forecasts?|est\.?) of)(?!\w)"
    r"[^\w]{0,3}(?:(?:estimate|forecasts?|of|is|was|up|down)[^\w]{1,3}){0,2}$",
    re.IGNORECASE,
)
# A verb, or "to", ends what "from" is about.
_NOT_TO = r"(?:(?! (?:to|was|were|is|rose|fell|grew|came|stood|\w+ed) )[^\d;])"
_EARLIER = re.compile(rf"{_THAN}{_NOT_TO}{{0,25}}$", re.IGNORECASE)
_FROM = re.compile(rf"(?<!\w)from{_NOT_TO}{{0,25}}$", re.IGNORECASE)
_TO = re.compile(r"^(?:(?! and )[^\d;,]){0,70}(?<!\w)to[^\d;]{0,25}$", re.IGNORECASE)
_RANGE = re.compile(r"(?<!\w)(?:rang(?:e|es|ed|ing)|between)(?!\w)[^\d]{0,25}$", re.IGNORECASE)
_LOSS_OR_PROFIT = re.compile(
    r"(?<!\w)(?:loss|losses|negative|deficit|profits?|positive)(?!\w)", re.I
)
_AFTERWARDS = re.compile(r"^\s?(?:(?:net|operating|pre-?tax)\s)?(?:(loss)|profit)(?!\w)", re.I)
_SAID = re.compile(r"(?<!\w)(?:higher|lower|unchanged)\s$", re.IGNORECASE)
_TWO_NUMBERS = re.compile(r"\d\D+\d")
_DOWN = re.compile(r"(?<!\w)down\s?$", re.IGNORECASE)
# What holds digits but no figure of its own to compare.
_MONTH = r"(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\.?"
_ASIDE = re.compile(
    r"\([^()]{0,60}\)|\b(?:19|20)\d\d\s?[-/]\s?\d\d\b|\b[QH][1-4]\b|\b[1-4]Q\b"
    rf"|\b{_MONTH}\s\d{{1,2}}\b|\b\d{{1,2}}\s{_MONTH}(?!\w)",
    re.IGNORECASE,
)
_ALREADY_WHOLE = 10_000
_SMALL = 1_000
_LOOKED_BACK = 60
_WORDS = {1: "higher", 0: "unchanged", -1: "lower"}


@dataclass(frozen=True)
class _Figure:
    """Where a figure stands, and what it is: `number` times `magnitude`, of a kind.

    kind: its currency, "%" for a share, "n" for a small whole number of something, else "".
    """

    start: int
    end: int
    number: float
    magnitude: float
    kind: str

    def beside(self, other: _Figure) -> float:
        """Its value: "3.2 against 3.3 billion" means billions both times."""
        says_it = self.magnitude > 1 or self.number >= _ALREADY_WHOLE or self.kind == "%"
        return self.number * (self.magnitude if says_it else max(other.magnitude, 1.0))


def with_comparisons(text: str) -> str:
    """Return `text` with "higher", "lower" or "unchanged" before each figure that is compared.

    A figure is compared with the one after "from", "compared with", "against", "versus" or a
    consensus, and "from 3 to 5" the other way round, where both are of one kind: the same
    currency, or shares. A loss is below nothing. Everything else stays as it was, and what is
    marked already too.
    """
    if _TWO_NUMBERS.search(text) is None:
        return text
    # What stands in brackets, years and quarters are looked over, at the same places.
    seen = _ASIDE.sub(_blank, text)
    seen = _FIGURE.sub(lambda one: _blank(one) if _is_year(one) else one[0], seen)
    figures = _ranges_joined(seen, list(_figures(seen)))
    seen, figures = _without_conversions(seen, figures)
    marks: dict[int, str] = {}
    for place, one in enumerate(figures):
        following = range(place + 1, min(place + 3, len(figures)))
        number = next((n for n in following if _alike(one, figures[n])), None)
        if number is None:
            continue
        other = figures[number]
        between = seen[one.end : other.start]
        for inside in figures[place + 1 : number]:
            # "27.4 billion, down 2 percent from 28.1 billion": looked over, too.
            between = between.replace(seen[inside.start : inside.end], " ", 1)
        at = _compared_at(seen, between, one, other, number == place + 1)
        if at is not None and at not in marks and not _SAID.search(text[max(0, at - 12) : at]):
            first, second = _signed(seen, between, one, other)
            rises = (first > second) - (first < second)
            marks[at] = _WORDS[rises if at == one.start else -rises]
    edges = [0, *sorted(marks), len(text)]
    return "".join(
        text[start:end] + (f"{marks[end]} " if end in marks else "")
        for start, end in pairwise(edges)
    )


def _figures(text: str) -> Iterator[_Figure]:
    for found in _FIGURE.finditer(text):
        number = _number(found["number"])
        kind = (found["kind"] or "").lower()
        currency = _CURRENCIES.get((found["before"] or found["after"] or "").lower(), "")
        if kind in _CENTS:
            number, currency = number / 100, currency or "usd"
        if kind in _SHARES:
            currency = "%"
        elif not kind and not currency and "." not in found["number"] and number < _SMALL:
            currency = "n"
        just_before = text[max(0, found.start() - len("down ")) : found.start()]
        if found["sign"] in ("-", "−") or _DOWN.search(just_before):
            number = -number
        yield _Figure(found.start(), found.end(), number, _MAGNITUDES.get(kind, 1.0), currency)


def _is_year(found: re.Match[str]) -> bool:
    alone = not (found["before"] or found["kind"] or found["after"] or found["sign"])
    return alone and re.fullmatch(r"(?:19|20)\d\d", found["number"]) is not None


def _number(text: str) -> float:
    """Read "1,275", "0 .98" and "37,7"."""
    text = text.replace(" ", "")
    whole, comma, rest = text.rpartition(",")
    decimal = comma and len(rest) < 3
    return float(f"{whole.replace(',', '')}.{rest}" if decimal else text.replace(",", ""))


def _ranges_joined(text: str, figures: list[_Figure]) -> list[_Figure]:
    """Take "1.5%-2%" and "between 3 and 5" for one figure, worth its middle."""
    joined: list[_Figure] = []
    for figure in figures:
        last = joined[-1] if joined else None
        gap = text[last.end : figure.start] if last else ""
        if last and (
            (gap.strip() in ("-", "–") or (not gap and figure.number < 0))
            or (gap.strip() == "and" and _RANGE.search(_just_before(text, last)))
        ):
            magnitude = max(last.magnitude, figure.magnitude)
            middle = (last.number + abs(figure.number)) / 2
            kind = figure.kind if last.kind in ("n", "") else last.kind
            joined[-1] = _Figure(last.start, figure.end, middle, magnitude, kind)
        else:
            joined.append(figure)
    return joined


def _without_conversions(text: str, figures: list[_Figure]) -> tuple[str, list[_Figure]]:
    """Look over "$ 4.5 mln" in "3.5 mln euro $ 4.5 mln": it says the same again."""
    kept: list[_Figure] = []
    letters = list(text)
    for figure in figures:
        last = kept[-1] if kept else None
        if last and _other_money(last, figure) and not text[last.end : figure.start].strip():
            letters[figure.start : figure.end] = " " * (figure.end - figure.start)
        else:
            kept.append(figure)
    return "".join(letters), kept


def _other_money(one: _Figure, other: _Figure) -> bool:
    return one.kind != other.kind and {one.kind, other.kind}.isdisjoint(("%", "n", ""))


def _alike(one: _Figure, other: _Figure) -> bool:
    if one.kind == other.kind:
        return True
    return "" in (one.kind, other.kind) and not {"%", "n"} & {one.kind, other.kind}


def _compared_at(
    text: str, between: str, one: _Figure, other: _Figure, next_to_each_other: bool
) -> int | None:
    """Where the figure that is compared stands; None where nothing compares the two."""
    before = _just_before(text, one)
    if _COMPARED.match(between) or _EXPECTED.match(between):
        # Where it stands after "from" itself, it is what another was compared with.
        return None if _EARLIER.search(before) else one.start
    if next_to_each_other and one.kind != "n" and _FROM.search(before) and _TO.match(between):
        return None if _RANGE.search(before) else other.start
    return None


def _signed(text: str, between: str, one: _Figure, other: _Figure) -> tuple[float, float]:
    """Both values; a loss is below nothing, and the second is one where nobody says otherwise."""
    first, second = one.beside(other), other.beside(one)
    said = _said_of(_just_before(text, one), text[one.end :])
    said_then = _said_of(between, text[other.end :])
    if said_then is None:
        said_then = said if said == "loss" else None
    return (-first if _below(said) else first), (-second if _below(said_then) else second)


def _said_of(before: str, after: str) -> str | None:
    """Whether a figure is called a loss, "negative", or a profit; None where nobody says."""
    called = _AFTERWARDS.match(after)
    if called:
        return "loss" if called[1] else "profit"
    said = list(_LOSS_OR_PROFIT.finditer(before))
    if not said:
        return None
    word = said[-1][0].lower()
    return "loss" if word in ("loss", "losses", "deficit") else word


def _below(said: str | None) -> bool:
    return said in ("loss", "negative")


def _just_before(text: str, figure: _Figure) -> str:
    return text[max(0, figure.start - _LOOKED_BACK) : figure.start]


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])
