"""Which words of a text a sentiment came from: each one's share of the score.

A word's share is its Shapley value: what the score gains when the word is added to others of
the text, averaged over orders in which all are added (Castro, Gómez & Tejada 2009; Štrumbelj &
Kononenko 2010). It asks a model for nothing but scores, so it works for every model, rounded
ones too. Some orders stand for all, each with its reverse, and always the same ones: the same
text gets the same answer, and the shares sum to the score exactly, but a share by itself is an
estimate. Leaving out one word at a time would be cheaper and see nothing where two words say
the same.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import CLASSES
from finsight.domain.long_texts import WEB_ADDRESS
from finsight.domain.sentiment import SentimentScore

MAX_WORDS = 64
"""The most words of one text that are explained: the cost rises with their square."""

MAX_WORDS_AT_ONCE = 160

_ORDERS = ((12, 16), (32, 8), (MAX_WORDS, 4))
"""Up to so many words, so many orders: the more words, the dearer is each order."""

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"  # Written without spaces: sign by sign.
    r"|[$€£¥#@]?\w+(?:[.,'’&/+-]\w+)*%?"
    r"|[^\w\s.,;:!?'\"()\[\]{}<>|/\\*+=&^~`´’‘“”„«»…–—-]+"  # Pictures say something, commas don't.
)
_NOTHING = "."


class WordShare(BaseModel):
    """One word, where it stands, and what it adds.

    Units:
        start, end: characters of the text as it was given, the last excluded.
        contribution: its share of the score (positive minus negative).
        towards_label: its share of the probability of the text's label.
    """

    model_config = ConfigDict(frozen=True)

    word: str
    start: int = Field(ge=0)
    end: int
    contribution: float
    towards_label: float


class Attribution(BaseModel):
    """A text's score, and the share of each of its words in it.

    `base` is the score of the text without any of its words: the score is `base` and all
    contributions together.
    """

    model_config = ConfigDict(frozen=True)

    score: SentimentScore
    words: tuple[WordShare, ...]
    base: float


@dataclass(frozen=True)
class Explaining:
    """One text on its way to an attribution: `to_score` are the texts to have scored for it."""

    to_score: list[str]
    _words: list[re.Match[str]]
    _orders: list[list[int]]
    _places: dict[frozenset[int], int]

    @classmethod
    def of(cls, text: str) -> Explaining:
        words = _words(text)
        orders = list(_some_orders(len(words)))
        places: dict[frozenset[int], int] = {}
        for kept in (frozenset(range(len(words))), frozenset[int](), *_on_the_way(orders)):
            places.setdefault(kept, len(places))
        return cls([_only(text, words, kept) for kept in places], words, orders, places)

    def attribution(self, scores: Sequence[SentimentScore]) -> Attribution:
        """Return the attribution, given a score of each of `to_score`, in their order."""
        whole, nothing = scores[0], scores[self._places[frozenset()]]
        column = CLASSES.index(whole.label)
        # A row a text scored: the score, and the probability of the whole text's label.
        made = np.array([(s.score, (s.negative, s.neutral, s.positive)[column]) for s in scores])
        shares = np.zeros((len(self._words), 2))
        for order in self._orders:
            rows = made[[self._places[kept] for kept in _steps(order)]]
            shares[order] += np.diff(rows, axis=0)
        shares /= max(len(self._orders), 1)
        return Attribution(
            score=whole,
            words=tuple(
                WordShare(
                    word=word.group(),
                    start=word.start(),
                    end=word.end(),
                    contribution=contribution,
                    towards_label=towards,
                )
                for word, (contribution, towards) in zip(self._words, shares.tolist(), strict=True)
            ),
            base=nothing.score,
        )


def explaining(texts: Sequence[str]) -> list[Explaining]:
    """Begin the attribution of each of `texts`. Raises: InvalidInput (too many words)."""
    counts = [len(_words(text)) for text in texts]
    for number, count in enumerate(counts):
        if count > MAX_WORDS:
            raise InvalidInput(
                f"text {number} has {count} words; at most {MAX_WORDS} are explained, for each "
                "costs many scores: explain its sentences one by one"
            )
    if sum(counts) > MAX_WORDS_AT_ONCE:
        raise InvalidInput(
            f"the texts have {sum(counts)} words together; at most {MAX_WORDS_AT_ONCE} are "
            "explained at once: ask for fewer texts"
        )
    return [Explaining.of(text) for text in texts]


def _some_orders(words: int) -> Iterator[list[int]]:
    """Orders in which to add words, each followed by its reverse; the same at every call."""
    if words == 0:
        return
    shuffling = random.Random(words)
    wanted = next(orders for most, orders in _ORDERS if words <= most)
    for _ in range(wanted // 2):
        order = list(range(words))
        shuffling.shuffle(order)
        yield order
        yield order[::-1]


def _steps(order: Sequence[int]) -> Iterator[frozenset[int]]:
    """What is kept as the words of `order` are added: from none to all."""
    return (frozenset(order[:count]) for count in range(len(order) + 1))


def _on_the_way(orders: Sequence[Sequence[int]]) -> Iterator[frozenset[int]]:
    return (kept for order in orders for kept in _steps(order))


def _words(text: str) -> list[re.Match[str]]:
    """The words that a model reads: web addresses are none, nor are commas."""
    # Blanked out, so that places stay; where there is nothing else, they are what is read.
    blanked = WEB_ADDRESS.sub(lambda address: " " * len(address.group()), text)
    return list(_WORD.finditer(blanked if blanked.strip() else text))


def _only(text: str, words: Sequence[re.Match[str]], kept: frozenset[int]) -> str:
    """Return `text` with no other of its `words` than those `kept`."""
    signs = list(text)
    for number, word in enumerate(words):
        if number not in kept:
            signs[word.start() : word.end()] = " " * (word.end() - word.start())
    left = "".join(signs)
    return left if left.strip() else _NOTHING
