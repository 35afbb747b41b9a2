"""What a batch of texts costs in training, and what it is compared with."""

import numpy as np
import pytest
import torch
from torch import nn

from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import LabelledText
from finsight.domain.sentiment import SentimentLabel
from finsight.training.sentiment_batches import soft_labels
from finsight.training.sentiment_losses import (
    PushedEmbeddings,
    disagreement,
    regularised,
    soft_cross_entropy,
)
from finsight.training.sentiment_recipe import SentimentRecipe
from finsight.training.sentiment_teachers import folds_by_class

NEGATIVE, NEUTRAL, POSITIVE = SentimentLabel


def text(label: SentimentLabel, weight: float = 1.0, row: int = 1) -> LabelledText:
    return LabelledText(f"sentence {row}", label, "news.csv", row, weight)


def test_a_label_that_is_trusted_is_certain() -> None:
    labels = soft_labels([text(NEGATIVE), text(NEUTRAL), text(POSITIVE)])
    assert labels.tolist() == np.eye(3).tolist()


def test_what_a_label_is_not_trusted_for_goes_to_the_other_classes_as_often_as_they_occur() -> None:
    known = [text(NEUTRAL)] * 6 + [text(NEGATIVE)] * 2
    *_, unsure = soft_labels([*known, text(POSITIVE, 0.6)])
    assert unsure.tolist() == pytest.approx([0.1, 0.3, 0.6])


def test_a_label_stays_the_likeliest_however_little_it_is_trusted() -> None:
    known = [text(NEUTRAL)] * 9
    *_, unsure = soft_labels([*known, text(POSITIVE, 0.2)])
    assert unsure.argmax() == 2 or unsure[2] == unsure.max()
    assert unsure.sum() == pytest.approx(1.0)


def test_certain_labels_cost_what_torch_says() -> None:
    torch.manual_seed(3)
    logits, classes = torch.randn(12, 3), torch.arange(12) % 3
    costs = torch.tensor([2.0, 0.5, 0.5])
    ours = soft_cross_entropy(logits, torch.eye(3)[classes], costs, 0.0)
    torchs = nn.functional.cross_entropy(logits, classes, weight=costs)
    assert float(ours) == pytest.approx(float(torchs), rel=1e-5)


def test_two_answers_disagree_by_how_far_they_are_apart() -> None:
    one = torch.tensor([[2.0, 0.0, -1.0]])
    assert float(disagreement(one, one)) == pytest.approx(0.0, abs=1e-7)
    near, far = one + torch.tensor([[0.1, 0.0, 0.0]]), one.flip(1)
    assert 0 < float(disagreement(one, near)) < float(disagreement(one, far))


def test_r_drop_makes_two_passes_of_every_text_and_punishes_what_dropout_moves() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3))
    seen: list[int] = []

    def forward(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        seen.append(len(batch["input_ids"]))
        answer: torch.Tensor = layer(batch["input_ids"])
        return answer

    batch = {"input_ids": torch.randn(4, 8)}
    without = regularised(forward, batch, lambda logits: logits.sum() * 0, 0.0)
    punished = regularised(forward, batch, lambda logits: logits.sum() * 0, 1.0)
    assert seen == [4, 8]
    assert without.item() == 0 < punished.item()


def test_a_pushed_embedding_makes_the_same_texts_cost_more() -> None:
    torch.manual_seed(0)
    embeddings, head = nn.Embedding(20, 8), nn.Linear(8, 3)
    embeddings.weight.requires_grad_(False)  # As under adapters.
    pushed = PushedEmbeddings(embeddings, 0.5)
    ids, classes = torch.randint(20, (6, 5)), torch.arange(6) % 3

    def loss() -> torch.Tensor:
        return nn.functional.cross_entropy(head(embeddings(ids).mean(dim=1)), classes)

    before = loss()
    before.backward()  # type: ignore[no-untyped-call]
    pushed.push()
    hurt = loss()
    pushed.release()
    assert hurt.item() > before.item() + 1e-3
    assert loss().item() == pytest.approx(before.item())


def test_folds_spread_every_class_and_every_text_is_in_one() -> None:
    texts = [text(POSITIVE if row % 4 else NEGATIVE, row=row) for row in range(80)]
    folds = folds_by_class(texts, 4, seed=1)
    for fold in range(4):
        own = [one.label for one, number in zip(texts, folds, strict=True) if number == fold]
        assert (own.count(POSITIVE), own.count(NEGATIVE)) == (15, 5)
    assert folds == folds_by_class(texts, 4, seed=1) != folds_by_class(texts, 4, seed=2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": 0}, "epochs is 0; expected at least 1"),
        ({"learning_rate": 2.0}, "learning rate is 2.0"),
        ({"averaging": 1.0}, "averaging is 1.0; expected at least 0 and below 1"),
        ({"r_drop": -1.0}, "r_drop is -1.0; expected 0 or more"),
        ({"adversarial": float("nan")}, "adversarial is nan"),
        ({"soup": 0}, "soup is 0; expected at least 1"),
        ({"teachers": 1}, "teachers is 1; expected 0, or at least 2"),
        ({"teacher_share": 1.5}, "teacher_share is 1.5; expected 0 to 1"),
    ],
)
def test_a_recipe_says_which_number_is_wrong(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        SentimentRecipe(**wrong).check()  # type: ignore[arg-type]
