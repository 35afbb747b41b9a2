"""Texts as numbers: token ids, soft labels, batches of similar length."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
import torch

from finsight.domain.labelled_texts import CLASSES, LabelledText
from finsight.domain.long_texts import readable
from finsight.training.sentiment_network import open_tokenizer

_BUCKET_BATCHES = 50
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class TokenisedTexts:
    """Token ids, one list a text, and the probability of each class in `CLASSES` that is
    taken for true; no rows of those where texts have no labels."""

    tokens: list[list[int]]
    targets: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The number of each text's class."""
        classes: np.ndarray = self.targets.argmax(axis=1)
        return classes


def soft_labels(texts: Sequence[LabelledText]) -> np.ndarray:
    """Return the probability of each class, a row a text.

    A label that is to be trusted by its weight alone leaves the rest to the other
    classes, as often as they are labels here; but stays at least as probable as they.
    """
    classes = np.array([CLASSES.index(text.label) for text in texts])
    certain = np.eye(len(CLASSES))[classes]
    often = np.broadcast_to(certain.mean(axis=0), certain.shape) * (1 - certain)
    often = often / np.maximum(often.sum(axis=1, keepdims=True), 1e-12)
    weights = np.array([text.weight for text in texts])[:, None]
    soft = weights * certain + (1 - weights) * often
    unsure = soft.argmax(axis=1) != classes
    soft[unsure] = (certain[unsure] + often[unsure]) / 2
    labels: np.ndarray = soft / soft.sum(axis=1, keepdims=True)
    return labels


def tokenised_dataset(
    texts: Sequence[str],
    base: str,
    longest: int,
    targets: np.ndarray | None = None,
    compare_figures: bool = False,
) -> Any:
    """A Ray dataset of token ids, and of targets where they are given."""
    columns: dict[str, Any] = {"text": [readable(text, compare_figures) for text in texts]}
    if targets is not None:
        columns["target"] = targets.astype(np.float64).tolist()

    def tokenise(batch: pa.Table) -> pa.Table:
        tokens = open_tokenizer(base)(
            batch["text"].to_pylist(), truncation=True, max_length=longest
        )["input_ids"]
        kept = {"target": batch["target"]} if "target" in batch.column_names else {}
        return pa.table({"tokens": tokens, **kept})

    return ray.data.from_arrow(pa.table(columns)).map_batches(
        tokenise, batch_format="pyarrow", batch_size=_ROWS_AT_ONCE
    )


def collect(shard: Any) -> TokenisedTexts:
    """Bring a shard into memory: sentences are small, and bucketing looks at them all."""
    tokens: list[list[int]] = []
    targets: list[list[float]] = []
    for batch in shard.iter_batches(batch_format="pyarrow", batch_size=_ROWS_AT_ONCE):
        tokens += batch["tokens"].to_pylist()
        if "target" in batch.column_names:
            targets += batch["target"].to_pylist()
    return TokenisedTexts(tokens, np.array(targets, dtype=np.float64).reshape(-1, len(CLASSES)))


def padded(
    tokens: Sequence[Sequence[int]], padding: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return the ids and mask of one batch, all rows as long as the longest."""
    ids = torch.full((len(tokens), max(map(len, tokens))), padding)
    mask = torch.zeros_like(ids)
    for row, own in enumerate(tokens):
        ids[row, : len(own)] = torch.tensor(own)
        mask[row, : len(own)] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def class_weights(classes: np.ndarray, weighting: float) -> torch.Tensor:
    """Return what an error in each class costs: rarity to the power of `weighting`; mean 1."""
    counts = torch.from_numpy(np.bincount(classes, minlength=len(CLASSES))).float().clamp_min(1)
    weights = (counts.sum() / counts) ** weighting
    return weights / weights.mean()


def bucketed(lengths: Sequence[int], batch: int, seed: int) -> list[list[int]]:
    """Return all indices in batches of similar length, in an order that `seed` decides."""
    shuffling = random.Random(seed)
    order = list(range(len(lengths)))
    shuffling.shuffle(order)
    batches: list[list[int]] = []
    for pool in _slices(order, batch * _BUCKET_BATCHES):
        batches += _slices(sorted(pool, key=lambda index: lengths[index]), batch)
    shuffling.shuffle(batches)
    return batches


def _slices(values: list[int], size: int) -> Iterator[list[int]]:
    return (values[start : start + size] for start in range(0, len(values), size))
