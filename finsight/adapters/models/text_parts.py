"""Texts to token ids: long ones split, parts of similar length side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from finsight.domain.calibration import tempered
from finsight.domain.errors import ModelUnavailable
from finsight.domain.long_texts import readable, weighed_mean, windows
from finsight.domain.sentiment import SentimentScore

_TOKENS_A_PASS = 4096
"""The most tokens, padding included, that one forward pass takes: bounds its memory."""

_PADDING_ALLOWED = 0.15
"""The share of a pass that may be padding before a new pass begins."""

_REMEMBERED = 2048


@dataclass(frozen=True)
class TokenBatch:
    """Parts padded to one length: int32 of shape (parts, tokens), mask 1 on real tokens."""

    input_ids: np.ndarray
    mask: np.ndarray


class TextParts:
    """Cuts texts into parts that fit a model's window, special tokens included.

    What `count_tokens` has tokenised is remembered until it is scored, so that a text
    that is first measured and then scored is tokenised once.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        window: int,
        padding: int = 0,
        compare_figures: bool = False,
    ) -> None:
        """`compare_figures`: whether the model was trained on texts with figures compared."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        empty = tokenizer.encode("")
        # What the model's template puts before and after: [CLS] … [SEP].
        half = (len(empty.ids) + 1) // 2
        self._before, self._after = empty.ids[:half], empty.ids[half:]
        self._padding = padding
        self._room = window - len(empty.ids)
        self._compare_figures = compare_figures
        self._remembered: dict[str, list[list[int]]] = {}

    @classmethod
    def open(
        cls, folder: Path, window: int, padding: int = 0, compare_figures: bool = False
    ) -> TextParts:
        """Raises: ModelUnavailable (no tokenizer in `folder` that can be read)."""
        path = folder / "tokenizer.json"
        if path.is_file():
            return cls(Tokenizer.from_file(str(path)), window, padding, compare_figures)
        from transformers import AutoTokenizer

        try:
            converted = AutoTokenizer.from_pretrained(str(folder))
        except (OSError, ValueError) as exc:
            raise ModelUnavailable(
                f"{folder} has no tokenizer; save the model's tokenizer there: {exc}"
            ) from exc
        if not converted.is_fast:
            raise ModelUnavailable(f"{folder} has only a slow tokenizer; add its tokenizer.json")
        return cls(converted.backend_tokenizer, window, padding, compare_figures)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text costs, special ones of every part included."""
        parts = self._split(texts)
        if len(self._remembered) > _REMEMBERED:
            self._remembered.clear()
        # Long texts are not kept: a few of them would be megabytes.
        self._remembered.update(
            (text, ids) for text, ids in zip(texts, parts, strict=True) if len(ids) == 1
        )
        return [sum(map(len, ids)) for ids in parts]

    def unpadded(self, texts: Sequence[str]) -> list[TokenBatch]:
        """Return a batch of its own for every part of `texts`."""
        return [_padded([ids], self._padding) for of_text in self._split(texts) for ids in of_text]

    def score(
        self,
        texts: Sequence[str],
        forward: Callable[[list[TokenBatch]], list[np.ndarray]],
        *,
        columns: tuple[int, int, int],
        temperature: float,
        model: str,
        version: str,
    ) -> list[SentimentScore]:
        """Score `texts` in the order given; `forward` answers probabilities, a row a part.

        `columns` are those of negative, neutral and positive. The parts of a long text
        are weighed by their lengths; the text's probabilities are corrected by `temperature`.
        """
        split = [self._remembered.pop(text, None) for text in texts]
        missing = [index for index, ids in enumerate(split) if ids is None]
        for index, ids in zip(missing, self._split([texts[i] for i in missing]), strict=True):
            split[index] = ids
        parts = [ids or [] for ids in split]
        rows = self._in_passes([ids for of_text in parts for ids in of_text], forward)
        scores = []
        first = 0
        for of_text in parts:
            own = rows[first : first + len(of_text)][:, columns]
            first += len(of_text)
            mean = weighed_mean(own, [len(ids) for ids in of_text])
            row = mean / mean.sum()
            if temperature != 1.0:
                row = tempered(row, temperature)
            negative, neutral, positive = row.clip(0.0, 1.0).tolist()
            scores.append(
                SentimentScore(
                    negative=negative,
                    neutral=neutral,
                    positive=positive,
                    model=model,
                    model_version=version,
                    parts=len(of_text),
                )
            )
        return scores

    def _split(self, texts: Sequence[str]) -> list[list[list[int]]]:
        encodings = self._tokenizer.encode_batch(
            [readable(text, self._compare_figures) for text in texts], add_special_tokens=False
        )
        split = []
        for encoding in encodings:
            ids = encoding.ids
            whole = len(ids) <= self._room
            cuts = [slice(None)] if whole else windows(encoding.tokens, self._room)
            split.append([[*self._before, *ids[cut], *self._after] for cut in cuts])
        return split

    def _in_passes(
        self, parts: list[list[int]], forward: Callable[[list[TokenBatch]], list[np.ndarray]]
    ) -> np.ndarray:
        order = sorted(range(len(parts)), key=lambda index: len(parts[index]))
        groups = list(_similar_lengths(order, [len(ids) for ids in parts]))
        answers = forward(
            [_padded([parts[index] for index in group], self._padding) for group in groups]
        )
        rows = np.concatenate(answers)
        in_order = np.empty_like(rows)
        in_order[order] = rows
        return in_order


class PartsModel(ABC):
    """What the sentiment models share: texts cut into parts, and their rows put together.

    `columns` are those of negative, neutral and positive in what `_forward` answers;
    `temperature` corrects its probabilities.
    """

    def __init__(
        self,
        parts: TextParts,
        *,
        columns: tuple[int, int, int],
        name: str,
        version: str,
        temperature: float = 1.0,
    ) -> None:
        self._parts = parts
        self._columns = columns
        self._name = name
        self._version = version
        self._temperature = temperature

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return self._version

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._parts.count_tokens(texts)

    def score(self, texts: Sequence[str]) -> list[SentimentScore]:
        return self._parts.score(
            texts,
            self._forward,
            columns=self._columns,
            temperature=self._temperature,
            model=self._name,
            version=self._version,
        )

    @abstractmethod
    def _forward(self, batches: list[TokenBatch]) -> list[np.ndarray]:
        """Return probabilities, a row a part and an array a batch."""


def _similar_lengths(order: list[int], lengths: list[int]) -> Iterator[list[int]]:
    """Cut `order`, which rises in length, into groups that need little padding."""
    group: list[int] = []
    tokens = 0
    for index in order:
        longest = lengths[index]
        area = longest * (len(group) + 1)
        wasted = area - tokens - longest
        if group and (area > _TOKENS_A_PASS or wasted > _PADDING_ALLOWED * area):
            yield group
            group, tokens = [], 0
        group.append(index)
        tokens += longest
    if group:
        yield group


def _padded(parts: list[list[int]], padding: int) -> TokenBatch:
    longest = max(map(len, parts))
    input_ids = np.full((len(parts), longest), padding, dtype=np.int32)
    mask = np.zeros((len(parts), longest), dtype=np.int32)
    for row, ids in enumerate(parts):
        input_ids[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    return TokenBatch(input_ids, mask)
