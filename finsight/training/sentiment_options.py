"""What a person may say of a sentiment training, as options of a command."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from finsight.domain.labelled_texts import parse_label_order
from finsight.training.sentiment_data import SentimentData
from finsight.training.sentiment_recipe import RECIPE_HELP, SentimentRecipe

LORA_RANK = 16
FULL_LEARNING_RATE, LORA_LEARNING_RATE = 5e-5, 1e-3


def options() -> argparse.ArgumentParser:
    """The parser of `python -m finsight.training.train_sentiment`."""
    parser = argparse.ArgumentParser(
        prog="python -m finsight.training.train_sentiment",
        description="Fine-tune a sentiment model on labelled texts, on Ray, and register it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, help="labelled texts")
    add("--valid", nargs="+", type=Path, default=[], help="files to validate on")
    add("--test", nargs="+", type=Path, default=[], help="files to test on")
    add("--valid-share", type=float, default=0.1, help="where no --valid is given")
    add("--test-share", type=float, default=0.0, help="where no --test is given")
    add("--earlier", nargs="+", type=Path, default=[], help="labelled texts to learn before")
    add("--unlabelled", nargs="+", type=Path, default=[], help="texts to pretrain on, before all")
    add("--labels", help="what 0, 1, 2 mean: negative,neutral,positive")
    add("--base", default=SentimentRecipe.base, help="compact, a folder or a hub id")
    add("--lora", action="store_true", help="learn adapters, not all weights")
    add("--rank", type=int, default=LORA_RANK, help="of the adapters")
    add("--learning-rate", type=float, help="unset: by what is learnt")
    add("--keep-last", action="store_true", help="keep the last epoch, not the best one")
    add("--leave-figures", action="store_true", help="don't mark which of two figures is higher")
    add("--workers", type=int, default=1, help="Ray workers that share the texts")
    add("--champion", action="store_true", help="let it serve at once")
    add("--data-dir", type=Path, help="where the platform keeps its data")
    for field in fields(SentimentRecipe):
        if field.name in RECIPE_HELP:
            name = f"--{field.name.replace('_', '-')}"
            add(name, type=type(field.default), default=field.default, help=RECIPE_HELP[field.name])
    return parser


def recipe_of(given: argparse.Namespace) -> SentimentRecipe:
    """The recipe that was asked for."""
    numbers = {name: getattr(given, name) for name in RECIPE_HELP}
    usual_rate = LORA_LEARNING_RATE if given.lora else FULL_LEARNING_RATE
    return SentimentRecipe(
        base=given.base,
        lora_rank=given.rank if given.lora else None,
        learning_rate=usual_rate if given.learning_rate is None else given.learning_rate,
        keep_last=given.keep_last,
        compare_figures=not given.leave_figures,
        **numbers,
    )


def data_of(given: argparse.Namespace) -> SentimentData:
    """The files that were named. Raises: InvalidInput (an order of labels that is none)."""
    return SentimentData(
        files=tuple(given.files),
        valid=tuple(given.valid),
        test=tuple(given.test),
        valid_share=given.valid_share,
        test_share=given.test_share,
        order=parse_label_order(given.labels) if given.labels else None,
        earlier=tuple(given.earlier),
        unlabelled=tuple(given.unlabelled),
    )
