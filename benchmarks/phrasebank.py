"""How good our sentiment training is: the compact encoder on Financial PhraseBank.

python -m benchmarks.phrasebank [DATA_FOLDER] [--seeds 0 1 2] [--plain-seeds 0] [--recipe NAME]
python -m benchmarks.phrasebank [DATA_FOLDER] --choose [--folds 3]

All 4,846 sentences of 50 % agreement; a fifth, each class alike, is the test part and is
seen by nothing before it is judged. Prints the mean and spread over the training seeds
beside FinBERT's published figures and a plain run's. The data is for research only: the
models are thrown away. `--choose` compares the recipes instead, by folds of the training part
alone: that is how one is chosen without a look at the test part.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.sentiment_texts import DEFAULT_DATA
from finsight.domain.labelled_texts import LabelledText, Splits, make_splits
from finsight.settings import Settings
from finsight.training.compact_adapters import LABEL_ORDER
from finsight.training.evaluate_sentiment import evaluate_sentiment
from finsight.training.sentiment_data import read_labelled_file
from finsight.training.sentiment_recipe import SentimentRecipe
from finsight.training.sentiment_run import fit_sentiment
from finsight.training.sentiment_teachers import folds_by_class
from finsight.wiring import load_unrounded_sentiment_model

AGREEMENT = {
    "Sentences_50Agree.txt": 0.58,
    "Sentences_66Agree.txt": 0.71,
    "Sentences_75Agree.txt": 0.87,
    "Sentences_AllAgree.txt": 1.0,
}
"""The share of annotators behind a label, of those who are in a file but in no stricter one."""

PLAIN = SentimentRecipe(epochs=4, keep_last=True, compare_figures=False)
R_DROP = SentimentRecipe(
    epochs=5, learning_rate=1e-4, label_smoothing=0.0, r_drop=1.0, averaging=0.99, keep_last=True
)
SOFT = replace(R_DROP, learning_rate=5e-5, r_drop=0.0)
RECIPES = {
    "plain": PLAIN,
    "soft": SOFT,
    "r-drop": R_DROP,
    "soup": replace(R_DROP, soup=3),
    "r-drop-digits-alone": replace(R_DROP, compare_figures=False),
    "r-drop-gentle": replace(R_DROP, learning_rate=5e-5),
    "pretrained": replace(SOFT, pretraining_epochs=3, pretraining_learning_rate=2e-4),
    "teachers": replace(SOFT, teachers=3),
}
"""All but the plain one learn labels weighed by agreement; "pretrained" first guesses hidden
words of the training sentences and of financial tweets; "teachers" learns from three models;
"soup" averages the weights of three trainings. "digits-alone" reads figures as they stand:
the others are told which of two that a sentence compares is the higher one."""

NAMES = ("accuracy", "macro-F1", "accuracy where all agree")
TARGETS = (0.85, 0.83, 0.965)
FINBERT = (0.86, 0.84, 0.97)
"""Araci (2019), 110 million parameters; ours has 22.7 million."""


def main() -> None:
    """Train by each seed, judge, and print a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--plain-seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="r-drop")
    parser.add_argument("--choose", nargs="*", metavar="NAME", help="compare recipes by folds")
    parser.add_argument("--folds", type=int, default=3, help="of five, that --choose judges by")
    parser.add_argument("--threads", type=int, default=1, help="of the worker that trains")
    given = parser.parse_args()
    splits = read_splits(given.data / "sentiment" / "FinancialPhraseBank-v1.0")
    print(
        f"{len(splits.train)} sentences to learn from, {len(splits.test)} to test, "
        f"{len(_agreed(splits.test))} of these with full agreement; {splits.removed} removed "
        "because their words stand in two parts"
    )
    unlabelled = [text.text for text in splits.train] + _tweets(given.data)
    if given.choose is not None:
        for name in given.choose or RECIPES:
            _compare(splits, unlabelled, name, given.folds, given.threads)
        return
    plain = [_figures(splits, unlabelled, "plain", n, given.threads) for n in given.plain_seeds]
    ours = [_figures(splits, unlabelled, given.recipe, n, given.threads) for n in given.seeds]
    print("figure | ours, mean ± spread | FinBERT | ratio | plain run | target | met")
    for number, name in enumerate(NAMES):
        values = np.array([row[number] for row in ours])
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        usual = f"{np.mean([row[number] for row in plain]):.4f}" if plain else "not run"
        print(
            f"{name} | {values.mean():.4f} ± {spread:.4f} ({len(values)} seeds) | "
            f"{FINBERT[number]:.2f} | {values.mean() / FINBERT[number]:.3f} | {usual} | "
            f">= {TARGETS[number]} | {'yes' if values.mean() >= TARGETS[number] else 'NO'}"
        )


def read_splits(folder: Path) -> Splits:
    """Read PhraseBank, each label weighed by its annotators' agreement, and split it."""
    agreement: dict[tuple[str, str], float] = {}
    for name, share in AGREEMENT.items():
        for text in read_labelled_file(folder / name):
            agreement[text.text, text.label] = share
    texts = [
        replace(text, weight=agreement[text.text, text.label])
        for text in read_labelled_file(folder / "Sentences_50Agree.txt")
    ]
    splits = make_splits(texts, valid=None, test=None, valid_share=0.05, test_share=0.2, seed=0)
    # Nothing is chosen by the validation part (the last epoch is kept), so it is learnt too.
    return replace(splits, train=splits.train + splits.valid)


def _compare(
    splits: Splits, unlabelled: Sequence[str], name: str, folds: int, threads: int
) -> None:
    """Judge a recipe by folds of the training part, each left out in turn."""
    numbers = folds_by_class(splits.train, 5, seed=7)
    rows = []
    for fold in range(folds):
        pairs = list(zip(splits.train, numbers, strict=True))
        left_out = tuple(text for text, number in pairs if number == fold)
        learnt = tuple(text for text, number in pairs if number != fold)
        # The last epoch is kept: watching the fold chooses nothing.
        inside = Splits(learnt, valid=left_out, test=left_out)
        rows.append(_figures(inside, unlabelled, name, fold, threads))
    means = ", ".join(f"{n} {v:.4f}" for n, v in zip(NAMES, np.mean(rows, axis=0), strict=True))
    print(f"{name}, {folds} folds of the training part: {means}", flush=True)


def _figures(
    splits: Splits, unlabelled: Sequence[str], name: str, seed: int, threads: int
) -> tuple[float, float, float]:
    """Train, judge on the test part alone, and say how long it took."""
    began = time.monotonic()
    recipe = replace(RECIPES[name], seed=seed, threads=threads)
    if name == "plain":
        certain = tuple(replace(text, weight=1.0) for text in splits.train)
        splits = replace(splits, train=certain)
    with tempfile.TemporaryDirectory() as scratch:
        trained = fit_sentiment(
            Settings(data_dir=Path(scratch) / "data"),
            splits,
            recipe,
            Path(scratch) / "model",
            unlabelled=unlabelled if name == "pretrained" else (),
        )
        model = load_unrounded_sentiment_model(trained.folder, threads)
        whole = evaluate_sentiment(model, splits.test)
        agreed = evaluate_sentiment(model, _agreed(splits.test))
    figures = (whole.accuracy, whole.macro_f1, agreed.accuracy)
    said = ", ".join(f"{label} {value:.4f}" for label, value in zip(NAMES, figures, strict=True))
    print(f"{name}, seed {seed}: {said}; {time.monotonic() - began:.0f} s", flush=True)
    return figures


def _tweets(data: Path) -> list[str]:
    path = data / "sentiment" / "twitter-financial-news" / "sent_train.csv"
    return [text.text for text in read_labelled_file(path, LABEL_ORDER)]


def _agreed(texts: Sequence[LabelledText]) -> list[LabelledText]:
    return [text for text in texts if text.weight == 1.0]


if __name__ == "__main__":
    main()
