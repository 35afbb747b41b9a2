"""Which of a model's outputs is which class, by the names its makers gave them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finsight.domain.calibration import CALIBRATION_FILE, Calibration
from finsight.domain.compared_figures import COMPARES_FIGURES
from finsight.domain.errors import ModelUnavailable
from finsight.domain.labelled_texts import CLASSES, label_named
from finsight.domain.sentiment import SentimentLabel

_LONGEST_WINDOW = 512


def class_columns(model: str, id2label: Mapping[int, str]) -> tuple[int, int, int]:
    """Return the columns of negative, neutral and positive in the model's output.

    `id2label` comes from the model's config. "positive", "bullish", "POS" and the like
    are understood; names that say nothing, such as LABEL_0, are not guessed at.

    Raises:
        ModelUnavailable: a class is missing, double, or has a name that says nothing.
    """
    found: dict[SentimentLabel, int] = {}
    for column, name in id2label.items():
        label = label_named(name)
        if label is None or label in found:
            break
        found[label] = int(column)
    if len(id2label) != len(CLASSES) or len(found) != len(CLASSES):
        raise ModelUnavailable(
            f"{model} names its classes {', '.join(id2label.values())}; expected one each of "
            'negative/bearish, neutral and positive/bullish. Mend "id2label" in its config.json'
        )
    negative, neutral, positive = (found[label] for label in CLASSES)
    return negative, neutral, positive


@dataclass(frozen=True)
class ClassifierConfig:
    """What a model folder's config.json says of reading texts and naming classes.

    `window` is the most tokens of one part, `padding` the id that fills up a batch,
    `columns` are those of negative, neutral and positive in the output; `temperature`
    is what its training found its probabilities to need, 1 where nothing is said;
    `compares_figures` says that it was trained on texts whose figures are compared.
    """

    window: int
    padding: int
    columns: tuple[int, int, int]
    temperature: float = 1.0
    compares_figures: bool = False


def read_classifier_config(folder: Path) -> ClassifierConfig:
    """Raises: ModelUnavailable (not a sequence classifier whose classes are known)."""
    try:
        config = json.loads((folder / "config.json").read_text())
        id2label = {int(column): str(name) for column, name in config["id2label"].items()}
        padding = int(config.get("pad_token_id") or 0)
        positions = int(config.get("max_position_embeddings", _LONGEST_WINDOW))
    except (OSError, ValueError, KeyError) as exc:
        raise ModelUnavailable(
            f"{folder} has no config.json with id2label; expected a sequence-classification "
            "model as transformers saves it"
        ) from exc
    # Models whose padding isn't 0 count positions from behind it.
    window = positions - (padding + 1 if padding else 0)
    columns = class_columns(str(folder), id2label)
    return ClassifierConfig(
        min(window, _LONGEST_WINDOW),
        padding,
        columns,
        _temperature(folder),
        bool(config.get(COMPARES_FIGURES, False)),
    )


def _temperature(folder: Path) -> float:
    """Raises: ModelUnavailable (a calibration that can't be read)."""
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return 1.0
    try:
        return Calibration.model_validate_json(path.read_bytes()).temperature
    except (OSError, ValueError) as exc:
        raise ModelUnavailable(
            f"{path} can't be read: {exc}; train the model again, or delete the file to serve its "
            "probabilities as they are"
        ) from exc
