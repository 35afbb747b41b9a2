"""Reading which output of a model is which class."""

import json
from pathlib import Path

import pytest

from finsight.adapters.models.class_labels import class_columns, read_classifier_config
from finsight.domain.errors import ModelUnavailable


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["positive", "negative", "neutral"], (1, 2, 0)),  # ProsusAI/finbert
        (["Neutral", "Positive", "Negative"], (2, 0, 1)),  # yiyanghkust/finbert-tone
        (["Bearish", "Bullish", "Neutral"], (0, 2, 1)),
        (["NEG", "NEU", "POS"], (0, 1, 2)),
    ],
)
def test_usual_names_are_understood(names: list[str], columns: tuple[int, int, int]) -> None:
    assert class_columns("a model", dict(enumerate(names))) == columns


@pytest.mark.parametrize(
    "names",
    [
        ["LABEL_0", "LABEL_1", "LABEL_2"],
        ["negative", "positive"],
        ["negative", "neutral", "positive", "positive"],
        ["bearish", "negative", "positive"],
    ],
)
def test_other_names_are_not_guessed_at(names: list[str]) -> None:
    with pytest.raises(ModelUnavailable, match=r"a model names its classes .*id2label"):
        class_columns("a model", dict(enumerate(names)))


def write_config(folder: Path, **config: object) -> Path:
    labels = {"0": "negative", "1": "neutral", "2": "positive"}
    (folder / "config.json").write_text(json.dumps({"id2label": labels} | config))
    return folder


def test_a_window_leaves_out_the_positions_before_the_first_token(tmp_path: Path) -> None:
    roberta = write_config(tmp_path, max_position_embeddings=514, pad_token_id=1)
    config = read_classifier_config(roberta)
    assert (config.window, config.padding) == (512, 1)


def test_a_short_window_is_kept(tmp_path: Path) -> None:
    config = read_classifier_config(write_config(tmp_path, max_position_embeddings=128))
    assert (config.window, config.padding, config.columns) == (128, 0, (0, 1, 2))


def test_a_folder_without_a_config_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="sequence-classification"):
        read_classifier_config(tmp_path)
