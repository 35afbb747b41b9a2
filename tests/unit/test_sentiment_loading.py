"""Where the sentiment model comes from: the registry, the settings, the package."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from finsight.adapters.models import compact_model, onnx_export
from finsight.adapters.models.compact_model import WINDOW, merge_adapters, read_compact_model
from finsight.adapters.models.onnx_export import compact_files, exported
from finsight.adapters.models.onnx_sentiment import OnnxSentimentModel
from finsight.adapters.models.sentiment_loading import load_sentiment_model
from finsight.adapters.models.text_parts import TextParts
from finsight.adapters.models.torch_sentiment import TorchSentimentModel
from finsight.domain.compared_figures import COMPARES_FIGURES
from finsight.domain.errors import ModelUnavailable, StoreUnavailable
from finsight.ports.models import ModelReference, SentimentModel
from finsight.training.sentiment_network import learnt_weights, open_network, save_classifier
from tests.tiny_classifier import save_tiny_classifier


@dataclass
class ARegistry:
    """Holds one folder as champion, or nothing, or does not answer."""

    folder: Path | None = None
    down: bool = False
    tags: dict[str, str] = field(default_factory=dict)

    def champion(self, kind: str) -> ModelReference | None:
        if self.down:
            raise StoreUnavailable("the registry is down")
        if self.folder is None or kind != "sentiment":
            return None
        return ModelReference(kind, "7", str(self.folder), datetime.now(UTC), self.tags)

    def fetch(self, reference: ModelReference, folder: Path) -> Path:
        return Path(reference.location)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier as transformers saves it."""
    labels = {0: "positive", 1: "negative", 2: "neutral"}
    return save_tiny_classifier(tmp_path_factory.mktemp("a-model"), labels, wide=32)


def load(registry: Any, cache: Path, configured: str | None = None, **given: Any) -> SentimentModel:
    return load_sentiment_model(
        registry, configured=configured, device="cpu", threads=1, cache_folder=cache, **given
    )


def test_with_nothing_configured_the_compact_model_loads(cache: Path) -> None:
    model = load(ARegistry(), cache)
    assert isinstance(model, OnnxSentimentModel)
    assert (model.name, model.version) == ("compact-minilm", "3")


def test_a_configured_folder_goes_before_the_compact_model(cache: Path, folder: Path) -> None:
    model = load(ARegistry(), cache, str(folder))
    assert isinstance(model, OnnxSentimentModel)
    assert model.name == folder.name
    assert len(model.version) == 12


def test_the_champion_goes_before_what_is_configured(cache: Path, folder: Path) -> None:
    model = load(ARegistry(folder, tags={"model": "finbert-tuned"}), cache, "ProsusAI/finbert")
    assert (model.name, model.version) == ("finbert-tuned", "7")


def test_what_is_demanded_goes_before_the_champion(cache: Path, folder: Path) -> None:
    model = load(ARegistry(folder), cache, str(folder), demanded="compact")
    assert model.name == "compact-minilm"


def test_a_registry_that_is_down_stops_nothing_and_is_said(
    cache: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load(ARegistry(down=True), cache).name == "compact-minilm"
    assert "the model registry is down" in caplog.text
    assert load(ARegistry(down=True), cache, str(folder)).name == folder.name


def test_a_hub_model_that_can_not_be_had_is_an_error_that_says_what_to_do(cache: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"ProsusAI/finbert is not on .*Connect once"):
        load(ARegistry(), cache, "ProsusAI/finbert")


def test_a_folder_that_is_missing_is_not_looked_for_on_the_hub(cache: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no model folder /nowhere"):
        load(ARegistry(), cache, "/nowhere")


def test_a_broken_champion_is_not_replaced_in_silence(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        load(ARegistry(tmp_path), cache)


def test_another_architecture_runs_on_torch(cache: Path, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"gelu"', '"relu"'))
    assert isinstance(load(ARegistry(), cache, str(tmp_path)), TorchSentimentModel)


def test_a_graph_is_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compact = read_compact_model()
    files, parts = compact_files(compact), TextParts.open(compact.encoder, WINDOW)
    graph = exported(files, parts, cache)
    monkeypatch.setattr(onnx_export, "bert_classifier", None)  # Making it again would fail.
    assert exported(files, parts, cache) == graph
    assert not list(cache.glob("*.part"))


def test_other_adapters_are_another_graph(tmp_path: Path) -> None:
    compact = read_compact_model()
    files, parts = compact_files(compact), TextParts.open(compact.encoder, WINDOW)
    assert files.adapters is not None
    with safe_open(files.adapters, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        made = file.metadata()
    changed = next(name for name in tensors if name.endswith("lora_B.weight"))
    tensors[changed] = tensors[changed] + 1
    other = tmp_path / "adapters.safetensors"
    save_file(tensors, other, metadata=made)
    changed_graph = exported(replace(files, adapters=other), parts, tmp_path)
    assert changed_graph != exported(files, parts, tmp_path)


def test_adapters_are_added_to_the_layers_they_name_and_to_no_other(tmp_path: Path) -> None:
    adapters = tmp_path / "adapters.safetensors"
    narrow = np.array([[1.0, 2.0]], dtype=np.float32)
    wide = np.array([[3.0], [0.0]], dtype=np.float32)
    tensors = {"layer.lora_A.weight": narrow, "layer.lora_B.weight": wide}
    save_file(tensors, adapters, metadata={"scale": "2"})
    weights = {"layer.weight": np.eye(2, dtype=np.float32), "other.weight": np.ones((2, 2))}
    merged = merge_adapters(weights, adapters)
    assert merged["layer.weight"].tolist() == [[7.0, 12.0], [0.0, 1.0]]
    assert merged["other.weight"] is weights["other.weight"]
    assert weights["layer.weight"].tolist() == np.eye(2).tolist()


def test_the_compact_model_stays_small() -> None:
    assert compact_model.ADAPTERS_FILE.stat().st_size <= 8_000_000


def test_another_head_is_another_graph(folder: Path, tmp_path: Path) -> None:
    own = onnx_export.bert_files(folder)
    assert own is not None
    parts = TextParts.open(folder, WINDOW)
    first = exported(own, parts, tmp_path)
    weights = tmp_path / "model.safetensors"
    changed = bytearray((folder / "model.safetensors").read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(bytes(changed))
    assert exported(onnx_export.BertFiles(weights, own.shape, None), parts, tmp_path) != first


COMPARED = "EPS came to 3 cents vs 4 cents"


def opened_both_ways(folder: Path, cache: Path) -> list[SentimentModel]:
    onnx = OnnxSentimentModel.open(folder, cache, name="a", version="1", threads=1)
    assert onnx is not None
    torch = TorchSentimentModel.open(folder, name="a", version="1", device="cpu", threads=1)
    return [onnx, torch]


@pytest.mark.parametrize("learnt_so", [True, False])
def test_a_model_reads_compared_figures_as_it_learnt_to(
    folder: Path, cache: Path, tmp_path: Path, learnt_so: bool
) -> None:
    base = str(folder)
    learnt = learnt_weights(open_network(base, None, seed=0))
    save_classifier(tmp_path / "trained", base, None, learnt, learnt_so)
    one_word_more = COMPARED.replace("3 cents", "lower 3 cents")
    for model in opened_both_ways(tmp_path / "trained", cache):
        plain, marked = model.score([COMPARED]), model.score([one_word_more])
        assert (plain == marked) is learnt_so
    for model in opened_both_ways(folder, cache):
        # From elsewhere: it gets its texts as they are.
        assert model.score([COMPARED]) != model.score([one_word_more])


@pytest.mark.parametrize("learnt_so", [True, False])
def test_the_compact_model_says_itself_how_it_reads(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learnt_so: bool
) -> None:
    with safe_open(compact_model.ADAPTERS_FILE, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        made = {**file.metadata(), COMPARES_FIGURES: str(learnt_so).lower()}
    save_file(tensors, tmp_path / "adapters.safetensors", metadata=made)
    monkeypatch.setattr(compact_model, "ADAPTERS_FILE", tmp_path / "adapters.safetensors")
    one_word_more = COMPARED.replace("3 cents", "lower 3 cents")
    model = OnnxSentimentModel.compact(cache, threads=1)
    counts = model.count_tokens([COMPARED, one_word_more])
    assert counts[0] == counts[1] - (0 if learnt_so else 1)
