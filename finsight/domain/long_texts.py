"""Texts as a sentiment model reads them: without web addresses, long ones in parts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from finsight.domain.compared_figures import with_comparisons

WEB_ADDRESS = re.compile(r"(?:https?://|www\.)\S+")
_SENTENCE_END = frozenset(".!?;")


def readable(text: str, compare_figures: bool = False) -> str:
    """Return `text` without web addresses and with single spaces.

    An address says nothing good or bad and costs a model dozens of tokens. A text
    that is nothing but addresses is returned as it is. With `compare_figures`, for models
    that were trained so, figures are marked as `with_comparisons` does.
    """
    without = " ".join(WEB_ADDRESS.sub(" ", text).split()) or " ".join(text.split())
    return with_comparisons(without) if compare_figures else without


def windows(tokens: Sequence[str], longest: int) -> list[slice]:
    """Split `tokens` into parts of at most `longest`, at the ends of sentences where it can.

    A part ends after the last sentence mark of its second half, else where it is full.
    The parts cover every token once, in order. A short text is one part; an empty one
    is one empty part.
    """
    parts: list[slice] = []
    start = 0
    while len(tokens) - start > longest:
        end = start + longest
        for place in range(end, start + longest // 2, -1):
            if tokens[place - 1] in _SENTENCE_END:
                end = place
                break
        parts.append(slice(start, end))
        start = end
    parts.append(slice(start, len(tokens)))
    return parts


def weighed_mean(probabilities: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Return the mean row of `probabilities`, each part counted by its length in tokens."""
    weights = np.maximum(np.asarray(lengths, dtype=np.float64), 1.0)
    mean: np.ndarray = weights @ probabilities.astype(np.float64) / weights.sum()
    return mean
