"""Weights of several trainings averaged into one model."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
)

from finsight.training.sentiment_network import learnt_weights, open_network, save_classifier
from finsight.training.sentiment_soup import souped
from tests.tiny_classifier import save_tiny_classifier


def moved(weights: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return {
        name: weight + 0.1 * torch.randn(weight.shape, generator=chance)
        for name, weight in weights.items()
    }


def test_a_soup_of_one_is_that_one() -> None:
    weights = {"head.weight": torch.randn(3, 4)}
    assert souped([weights]) is weights


def test_whole_weights_are_averaged() -> None:
    made = souped(
        [{"head.bias": torch.tensor([1.0, 4.0])}, {"head.bias": torch.tensor([3.0, 0.0])}]
    )
    assert made["head.bias"].tolist() == [2.0, 2.0]


# peft reads a name that transformers is about to rename.
@pytest.mark.filterwarnings("default::FutureWarning")
def test_a_soup_of_adapters_is_exactly_the_mean_of_the_models_that_they_make(
    tmp_path: Path,
) -> None:
    base = str(save_tiny_classifier(tmp_path / "base", hidden=16, wide=32))
    learnt = learnt_weights(open_network(base, 4, seed=0))
    members = [moved(learnt, seed) for seed in (1, 2, 3)]
    for number, weights in enumerate(members):
        save_classifier(tmp_path / f"member-{number}", base, 4, weights)
    save_classifier(tmp_path / "soup", base, 12, souped(members))
    opened = [
        AutoModelForSequenceClassification.from_pretrained(tmp_path / name).state_dict()
        for name in ("member-0", "member-1", "member-2", "soup")
    ]
    for name, weight in opened[-1].items():
        mean = sum(one[name] for one in opened[:3]) / 3
        torch.testing.assert_close(weight, mean, rtol=1e-5, atol=1e-6)
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(opened[0][query], opened[1][query])  # The members do differ.
