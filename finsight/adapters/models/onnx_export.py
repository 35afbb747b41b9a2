"""A BERT classifier's ONNX graph on disk: made once, found again by its content."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors import SafetensorError
from safetensors.numpy import load_file

from finsight.adapters.models import onnx_graph
from finsight.adapters.models.calibration_texts import CALIBRATION_TEXTS
from finsight.adapters.models.class_labels import read_classifier_config
from finsight.adapters.models.compact_model import CompactModel, merge_adapters
from finsight.adapters.models.onnx_graph import (
    BertShape,
    ClassifierHead,
    DenseLayer,
    Precision,
    Ranges,
    bert_classifier,
    range_finder,
)
from finsight.adapters.models.text_parts import TextParts
from finsight.domain.errors import ModelUnavailable

GRAPHS_FOLDER = "onnx"
"""Where, in a model's folder, its training leaves the graph that serves on a CPU."""

_LOCK = "sentiment-export.lock"
_RANGE_MARGIN = 1.15
"""Texts to come may go a little beyond what the calibration showed."""


@dataclass(frozen=True)
class BertFiles:
    """A BERT encoder on disk, and its head; None means the pooler and classifier beside it.

    `adapters`, where there are any, are merged into the encoder's weights.
    """

    weights: Path
    shape: BertShape
    head: ClassifierHead | None
    adapters: Path | None = None


def compact_files(compact: CompactModel) -> BertFiles:
    """The compact model, ready to export."""
    config = json.loads((compact.encoder / "config.json").read_text())
    weights = compact.encoder / "model.safetensors"
    return BertFiles(weights, _shape(config), compact.head, compact.adapters)


def bert_files(folder: Path) -> BertFiles | None:
    """The BERT sequence classifier in `folder`, or None when it is another kind of model.

    Raises: ModelUnavailable (no config that can be read).
    """
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as exc:
        raise ModelUnavailable(
            f"{folder} has no config.json that can be read; expected a model folder as "
            "transformers saves it"
        ) from exc
    weights = [folder / name for name in ("model.safetensors", "pytorch_model.bin")]
    found = next((path for path in weights if path.is_file()), None)
    plain = (
        config.get("model_type") == "bert"
        and "BertForSequenceClassification" in config.get("architectures", ())
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
    )
    return BertFiles(found, _shape(config), None) if plain and found is not None else None


def exported(
    files: BertFiles,
    parts: TextParts,
    cache_folder: Path,
    precision: Precision = "int8",
    made_before: Path | None = None,
) -> Path:
    """Return the graph of `files`, written into `cache_folder` unless it is there.

    One that is in the folder `made_before` is taken from there. `parts` makes tokens of the
    sentences on which int8 is calibrated. The graph's name is a hash of all that it is made
    from. Replicas that start together wait for the first one, which puts the file there
    whole.

    Raises: ModelUnavailable (weights that can't be read, a folder that can't be written).
    """
    reduce_range = _overflows()
    try:
        key = _content_key(files, precision, reduce_range)
        ready = made_before / _graph_name(key, precision) if made_before else None
        if ready is not None and ready.is_file():
            return ready
        cache_folder.mkdir(parents=True, exist_ok=True)
        target = cache_folder / _graph_name(key, precision)
        with (cache_folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_file():
                _write(files, parts, target, precision, reduce_range)
    except (OSError, KeyError, SafetensorError) as exc:
        raise ModelUnavailable(
            f"can't prepare {files.weights} in {cache_folder}: {exc}; check that the model is "
            "whole and that there is room on the disk"
        ) from exc
    return target


def export_into(folder: Path) -> bool:
    """Leave the int8 graph of the classifier in `folder` there, in `GRAPHS_FOLDER`.

    Whoever opens the folder on such a processor finds it ready. False where only torch
    can run the model.

    Raises: ModelUnavailable.
    """
    files = bert_files(folder)
    if files is None:
        return False
    config = read_classifier_config(folder)
    graphs = folder / GRAPHS_FOLDER
    parts = TextParts.open(folder, config.window, config.padding, config.compares_figures)
    exported(files, parts, graphs)
    (graphs / _LOCK).unlink(missing_ok=True)
    return True


def _graph_name(key: str, precision: Precision) -> str:
    return f"sentiment-{key}-{precision}.onnx"


def _shape(config: dict[str, float]) -> BertShape:
    return BertShape(
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
    )


def _write(
    files: BertFiles, parts: TextParts, target: Path, precision: Precision, reduce_range: bool
) -> None:
    weights = _read_weights(files.weights)
    if files.adapters is not None:
        weights = merge_adapters(weights, files.adapters)
    head = files.head or ClassifierHead(
        (
            _dense(weights, "pooler.dense", "Tanh"),
            _dense(weights, "classifier", None),
        )
    )
    ranges = _ranges(weights, files.shape, head, parts) if precision == "int8" else None
    graph = bert_classifier(weights, files.shape, head, ranges=ranges, reduce_range=reduce_range)
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".part")
    os.close(handle)
    try:
        onnx.save(graph, temporary)
        Path(temporary).replace(target)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _ranges(
    weights: dict[str, np.ndarray], shape: BertShape, head: ClassifierHead, parts: TextParts
) -> Ranges:
    """Run the calibration's sentences in fp32, and see how far each activation goes."""
    finder, names = range_finder(weights, shape, head)
    session = onnxruntime.InferenceSession(
        finder.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    answers = np.array(
        [
            session.run(None, {"input_ids": batch.input_ids, "mask": batch.mask})
            for batch in parts.unpadded(CALIBRATION_TEXTS)
        ]
    )
    least = _RANGE_MARGIN * answers[:, 0::2].min(axis=0)
    greatest = _RANGE_MARGIN * answers[:, 1::2].max(axis=0)
    return dict(zip(names, zip(least.tolist(), greatest.tolist(), strict=True), strict=True))


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".safetensors":
        weights = load_file(path)
    else:
        import torch

        loaded = torch.load(path, map_location="cpu", weights_only=True)
        weights = {name: tensor.float().numpy() for name, tensor in loaded.items()}
    # Early checkpoints call a layer norm's weight and bias gamma and beta.
    return {
        name.removeprefix("bert.").replace(".gamma", ".weight").replace(".beta", ".bias"): values
        for name, values in weights.items()
    }


def _dense(weights: dict[str, np.ndarray], name: str, activation: str | None) -> DenseLayer:
    return DenseLayer(
        weights[f"{name}.weight"].T, weights[f"{name}.bias"], "Tanh" if activation else None
    )


def _content_key(files: BertFiles, precision: str, reduce_range: bool) -> str:
    digest = hashlib.sha256(f"{files.shape} {precision} {reduce_range}".encode())
    # A change of the graph's recipe makes another graph.
    digest.update(Path(onnx_graph.__file__).read_bytes())
    digest.update(f"{_RANGE_MARGIN} {CALIBRATION_TEXTS}".encode())
    with files.weights.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    if files.adapters is not None:
        digest.update(files.adapters.read_bytes())
    if files.head is not None:
        digest.update(f"{files.head.pooling} {files.head.from_layers}".encode())
        for layer in files.head.layers:
            digest.update(layer.weight.tobytes() + layer.bias.tobytes())
    return digest.hexdigest()[:16]


def _overflows() -> bool:
    """Whether this processor's 8-bit products may overflow: x86 without VNNI."""
    try:
        processor = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx2" in processor and "vnni" not in processor
