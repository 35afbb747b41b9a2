"""The labelled sentences and headlines that the sentiment benchmarks read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet

from finsight.domain.sentiment import SentimentLabel, SentimentScore

CLASSES = (SentimentLabel.NEGATIVE, SentimentLabel.NEUTRAL, SentimentLabel.POSITIVE)
DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


def twitter_validation(data: Path) -> tuple[list[str], np.ndarray]:
    """Twitter financial news, the validation part: texts and classes."""
    path = data / "sentiment" / "twitter-financial-news" / "sent_valid.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes = {"0": 0, "1": 2, "2": 1}
    return [row["text"] for row in rows], np.array([classes[row["label"]] for row in rows])


def phrasebank(data: Path) -> tuple[list[str], np.ndarray]:
    """Financial PhraseBank, 50 % agreement: read to judge by, never to train on."""
    path = data / "sentiment" / "FinancialPhraseBank-v1.0" / "Sentences_50Agree.txt"
    lines = path.read_text(encoding="latin-1").splitlines()
    pairs = [line.rsplit("@", 1) for line in lines if "@" in line]
    return [text for text, _ in pairs], np.array(
        [CLASSES.index(SentimentLabel(c)) for _, c in pairs]
    )


def headlines(data: Path, count: int) -> list[str]:
    """`count` real headlines about crypto, all different."""
    table = parquet.read_table(data / "news" / "crypto_headlines.parquet", columns=["title"])
    titles: list[str] = table.column("title").to_pylist()
    return titles[:: max(len(titles) // count, 1)][:count]


def accuracy_and_macro_f1(scores: list[SentimentScore], classes: np.ndarray) -> tuple[float, float]:
    """How often the labels are right, and the mean of the classes' F1; shares in [0, 1]."""
    answers = np.array([CLASSES.index(score.label) for score in scores])
    f1 = []
    for number in range(len(CLASSES)):
        hits = ((answers == number) & (classes == number)).sum()
        f1.append(2 * hits / max((answers == number).sum() + (classes == number).sum(), 1))
    return float((answers == classes).mean()), float(np.mean(f1))
