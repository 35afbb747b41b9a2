"""A sentiment training from data to a folder that serves, stage after stage.

Texts without labels come first, then earlier data sets, then teachers, then the task itself;
each stage starts from the weights that the one before it left.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import LabelledText, Splits, same_words
from finsight.ports.models import SentimentModel
from finsight.settings import Settings
from finsight.training.sentiment_batches import soft_labels, tokenised_dataset
from finsight.training.sentiment_network import open_tokenizer, save_classifier
from finsight.training.sentiment_pretraining import pretrain
from finsight.training.sentiment_recipe import SentimentRecipe
from finsight.training.sentiment_soup import souped
from finsight.training.sentiment_teachers import teach
from finsight.training.sentiment_trainer import train_on_ray
from finsight.training.sentiment_training_loop import train_worker
from finsight.wiring import load_unrounded_sentiment_model


@dataclass(frozen=True)
class TrainedSentiment:
    """What a run ended with: a folder that opens with transformers and with our serving.

    `training` holds the last stage's own last figures, and in `history` every epoch's.
    """

    folder: Path
    splits: Splits
    training: Mapping[str, Any] = field(default_factory=dict)


def fit_sentiment(
    settings: Settings,
    splits: Splits,
    recipe: SentimentRecipe,
    folder: Path,
    workers: int = 1,
    *,
    earlier: Sequence[Sequence[LabelledText]] = (),
    unlabelled: Sequence[str] = (),
) -> TrainedSentiment:
    """Train on Ray and write the model into `folder`.

    `unlabelled` texts are what the encoder is pretrained on; `earlier` data sets are learnt
    one after the other before `splits.train`. Of both, texts whose words stand in the
    validation or test part are left out.

    Raises: InvalidInput (a number of the recipe, too few CPUs for `workers`), ModelUnavailable.
    """
    recipe.check()
    open_tokenizer(recipe.base)  # A base that can't be read is said before Ray starts.
    held = {same_words(text.text) for text in (*splits.valid, *splits.test)}
    with tempfile.TemporaryDirectory() as scratch:
        run = _Run(settings, splits.valid, workers, Path(scratch))
        base = recipe.base
        if unlabelled:
            texts = [text for text in unlabelled if same_words(text) not in held]
            print(f"pretraining on {len(texts)} texts without labels", flush=True)
            base = str(run.scratch / "pretrained")
            pretrain(settings, texts, recipe, Path(base), workers)
        for number, data in enumerate(earlier, start=1):
            learnt = [text for text in data if same_words(text.text) not in held]
            if not learnt:
                raise InvalidInput(f"earlier data set {number} has no text that may be learnt")
            print(f"earlier data set {number}: {len(learnt)} texts", flush=True)
            # Its labels may mean something else: the task's validation can't stop it early.
            stage = replace(recipe, base=base, keep_last=True, lora_rank=None)
            base = str(run.scratch / f"earlier-{number}")
            run.stage(learnt, soft_labels(learnt), stage, Path(base))
        final = replace(recipe, base=base)
        targets = soft_labels(splits.train)
        if recipe.teachers:
            targets = run.taught(splits.train, final)
            print("the student", flush=True)
        figures = run.stage(splits.train, targets, final, folder, recipe.soup)
    _save_splits(folder, splits)
    return TrainedSentiment(folder, splits, figures)


@dataclass(frozen=True)
class _Run:
    """What all stages of one run share."""

    settings: Settings
    valid: Sequence[LabelledText]
    workers: int
    scratch: Path

    def stage(
        self,
        train: Sequence[LabelledText],
        targets: np.ndarray,
        recipe: SentimentRecipe,
        folder: Path,
        members: int = 1,
    ) -> Mapping[str, Any]:
        """Train, and write a classifier into `folder`; return the first member's last figures."""
        trained = []
        for member in range(members):
            if members > 1:
                print(f"training {member + 1} of {members} whose weights are averaged", flush=True)
            trained.append(
                train_on_ray(
                    self.settings,
                    train_worker,
                    {"recipe": recipe, "member": member},
                    lambda: {
                        "train": _dataset(train, recipe, targets),
                        "valid": _dataset(self.valid, recipe, soft_labels(self.valid)),
                    },
                    self.workers,
                )
            )
        rank = None if recipe.lora_rank is None else recipe.lora_rank * members
        whole = souped([one.weights for one in trained])
        save_classifier(folder, recipe.base, rank, whole, recipe.compare_figures)
        return trained[0].figures

    def taught(self, train: Sequence[LabelledText], recipe: SentimentRecipe) -> np.ndarray:
        """Return soft labels made with teachers."""

        def fit(splits: Splits, number: int) -> SentimentModel:
            print(f"teacher {number + 1} of {recipe.teachers}", flush=True)
            folder = self.scratch / f"teacher-{number}"
            own = replace(recipe, seed=recipe.seed + 100 * (number + 1))
            self.stage(splits.train, soft_labels(splits.train), own, folder)
            return load_unrounded_sentiment_model(folder, recipe.threads)

        return teach(train, self.valid, recipe, fit)


def _dataset(texts: Sequence[LabelledText], recipe: SentimentRecipe, targets: np.ndarray) -> object:
    return tokenised_dataset(
        [text.text for text in texts],
        recipe.base,
        recipe.max_tokens,
        targets,
        recipe.compare_figures,
    )


def _save_splits(folder: Path, splits: Splits) -> None:
    """Keep which row of which file was in which part; the texts stay with their owner."""
    with (folder / "splits.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["part", "file", "row", "label"])
        for part in ("train", "valid", "test"):
            for text in getattr(splits, part):
                writer.writerow([part, text.file, text.row, text.label])
