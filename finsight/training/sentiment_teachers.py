"""Self-distillation: soft labels from models that have not seen the text they label."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from finsight.domain.labelled_texts import CLASSES, LabelledText, Splits
from finsight.ports.models import SentimentModel
from finsight.training.sentiment_batches import soft_labels
from finsight.training.sentiment_recipe import SentimentRecipe

_AT_ONCE = 512


def teach(
    train: Sequence[LabelledText],
    valid: Sequence[LabelledText],
    recipe: SentimentRecipe,
    fit: Callable[[Splits, int], SentimentModel],
) -> np.ndarray:
    """Return the soft labels of `train`: its own, blended with what its teachers answer.

    The training part is cut into `recipe.teachers` folds, each class alike. `fit` is given the
    other folds and the teacher's number; the model that it returns answers the fold that
    it has not seen. A teacher's answer counts `recipe.teacher_share` against the label.
    """
    labels = soft_labels(train)
    folds = folds_by_class(train, recipe.teachers, recipe.seed)
    answers = np.zeros_like(labels)
    for number in range(recipe.teachers):
        learnt = tuple(text for text, fold in zip(train, folds, strict=True) if fold != number)
        model = fit(Splits(learnt, tuple(valid)), number)
        chosen = [index for index, fold in enumerate(folds) if fold == number]
        for start in range(0, len(chosen), _AT_ONCE):
            part = chosen[start : start + _AT_ONCE]
            scores = model.score([train[index].text for index in part])
            answers[part] = [(one.negative, one.neutral, one.positive) for one in scores]
    return (1 - recipe.teacher_share) * labels + recipe.teacher_share * answers


def folds_by_class(texts: Sequence[LabelledText], folds: int, seed: int) -> list[int]:
    """Return the fold of each text; every class is spread over all folds, by `seed` alone."""
    shuffling = random.Random(seed)
    numbers = [0] * len(texts)
    for label in CLASSES:
        own = [index for index, text in enumerate(texts) if text.label is label]
        shuffling.shuffle(own)
        for place, index in enumerate(own):
            numbers[index] = place % folds
    return numbers
