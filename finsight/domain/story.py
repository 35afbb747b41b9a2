"""When two titles, from two feeds, tell the same story."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from finsight.domain.article import Article

STORY_WINDOW = timedelta(hours=36)
"""Titles further apart than this are different stories, however alike."""

SAME_STORY = 0.5
"""The share of words that two titles of one story have in common, at least.

Chosen by reading pairs of 65,000 real headlines: down to 0.45 nearly all pairs from
two publishers are one story; the margin is for feeds that repeat their wording.
"""

MIN_WORDS = 4
"""Titles with fewer words that carry meaning are too short to compare."""

_WORD = re.compile(r"\$?\d+(?:[.,]\d+)*[%kmbt]?|[^\W\d_]+")
_EMPTY_WORDS = frozenset(
    {
        "a", "after", "again", "all", "an", "and", "are", "as", "at", "be", "been", "but", "by",
        "could", "did", "do", "does", "for", "from", "had", "has", "have", "heres", "his", "how",
        "if", "in", "into", "is", "it", "its", "just", "may", "more", "new", "no", "not", "now",
        "of", "off", "on", "or", "out", "over", "report", "s", "say", "says", "so", "t", "than",
        "that", "the", "their", "these", "this", "to", "up", "was", "we", "what", "when", "where",
        "which", "while", "who", "why", "will", "with", "you", "your",
    }
)  # fmt: skip
_ENDINGS = ("ing", "ed", "es", "s")


@dataclass(frozen=True)
class Headline:
    """A title as stories are compared by it."""

    article_id: str
    story_id: str
    source: str
    published_at: datetime
    words: frozenset[str]
    figures: frozenset[str]
    symbols: frozenset[str]

    @classmethod
    def of(cls, article: Article) -> Headline:
        words = title_words(article.title)
        return cls(
            article_id=article.id,
            story_id=article.story_id,
            source=article.source,
            published_at=article.published_at,
            words=words,
            figures=frozenset(word for word in words if any(map(str.isdigit, word))),
            symbols=frozenset(article.symbols),
        )


def title_words(title: str) -> frozenset[str]:
    """The words of a title that carry meaning, without case, accents and endings."""
    plain = unicodedata.normalize("NFKD", title).casefold().replace("’", "").replace("'", "")
    found = (match[0].strip("$").replace(",", "") for match in _WORD.finditer(plain))
    return frozenset(_without_ending(word) for word in found if word not in _EMPTY_WORDS)


def similarity(one: Headline, other: Headline) -> float:
    """How much two headlines say the same, in [0, 1]: the words they share of all their words.

    0 when they can't be one story: from the same feed (its weekly column says nearly
    the same each week), too far apart in time, about different coins, or with
    figures of which none agree ("falls 3 %" and "falls 5 %").
    """
    if one.source == other.source or one.symbols != other.symbols:
        return 0.0
    if abs(one.published_at - other.published_at) > STORY_WINDOW:
        return 0.0
    if one.figures and other.figures and one.figures.isdisjoint(other.figures):
        return 0.0
    if min(len(one.words), len(other.words)) < MIN_WORDS:
        return 0.0
    return len(one.words & other.words) / len(one.words | other.words)


class StoryIndex:
    """Finds the story that a new headline tells, among those added before it."""

    def __init__(self) -> None:
        self._by_word: dict[str, list[Headline]] = defaultdict(list)

    def add(self, headline: Headline) -> None:
        """Let later headlines be compared with this one."""
        for word in headline.words:
            self._by_word[word].append(headline)

    def find(self, headline: Headline) -> Headline | None:
        """The most similar headline that tells the same story, the earliest of equals, or None."""
        best: tuple[float, float, str] | None = None
        found = None
        for other in self._worth_comparing(headline).values():
            alike = similarity(headline, other)
            if alike < SAME_STORY:
                continue
            rank = (-alike, other.published_at.timestamp(), other.article_id)
            if best is None or rank < best:
                best, found = rank, other
        return found

    def _worth_comparing(self, headline: Headline) -> dict[str, Headline]:
        # Two titles that share enough of their words can't miss each other in all of the
        # rarest: looking those up is enough, and the long lists of "bitcoin" aren't walked.
        rarest_first = sorted(headline.words, key=lambda word: len(self._by_word.get(word, ())))
        needed = int(len(rarest_first) * (1 - SAME_STORY)) + 1
        return {
            other.article_id: other
            for word in rarest_first[:needed]
            for other in self._by_word.get(word, ())
        }


def _without_ending(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
