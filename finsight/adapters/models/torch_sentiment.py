"""Sentiment with torch: any sequence classifier of transformers, and the compact model.

On a GPU the encoder runs in bfloat16, on a CPU in fp32; probabilities are always fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import AutoModel, AutoModelForSequenceClassification

from finsight.adapters.models.class_labels import read_classifier_config
from finsight.adapters.models.compact_model import (
    NAME,
    WINDOW,
    CompactModel,
    merge_adapters,
    read_compact_model,
)
from finsight.adapters.models.text_parts import PartsModel, TextParts, TokenBatch
from finsight.domain.errors import ModelUnavailable

_Logits = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class TorchSentimentModel(PartsModel):
    """Implements `ports.models.SentimentModel` over torch.

    `logits` maps token ids and mask, on `device`, to one row of class scores a part.
    """

    def __init__(
        self,
        logits: _Logits,
        parts: TextParts,
        device: torch.device,
        *,
        columns: tuple[int, int, int],
        name: str,
        version: str,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(
            parts, columns=columns, name=name, version=version, temperature=temperature
        )
        self._logits = logits
        self._device = device

    @classmethod
    def open(
        cls, folder: Path, *, name: str, version: str, device: str, threads: int
    ) -> TorchSentimentModel:
        """Open a transformers folder. Raises: ModelUnavailable."""
        config = read_classifier_config(folder)
        place = _prepare(device, threads)
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                str(folder), dtype=_precision(place), local_files_only=True
            )
        except (OSError, ValueError) as exc:
            raise ModelUnavailable(
                f"{folder} holds no model that transformers can load: {exc}"
            ) from exc
        model.to(place).eval()

        def logits(input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = model(input_ids=input_ids, attention_mask=mask).logits
            return answer

        parts = TextParts.open(folder, config.window, config.padding, config.compares_figures)
        return cls(
            logits,
            parts,
            place,
            columns=config.columns,
            name=name,
            version=version,
            temperature=config.temperature,
        )

    @classmethod
    def compact(cls, *, device: str, threads: int) -> TorchSentimentModel:
        """Open the compact model, as it runs on a GPU."""
        compact = read_compact_model()
        place = _prepare(device, threads)
        return cls(
            _CompactNetwork(compact, place),
            TextParts.open(compact.encoder, WINDOW, compare_figures=compact.compares_figures),
            place,
            columns=compact.columns,
            name=NAME,
            version=compact.version,
        )

    def _forward(self, batches: list[TokenBatch]) -> list[np.ndarray]:
        with torch.inference_mode():
            # All passes are queued before the first answer is waited for.
            answers = [
                torch.softmax(
                    self._logits(
                        torch.from_numpy(batch.input_ids).to(self._device),
                        torch.from_numpy(batch.mask).to(self._device),
                    ).float(),
                    dim=-1,
                )
                for batch in batches
            ]
        return [answer.cpu().numpy() for answer in answers]


class _CompactNetwork:
    """The compact model's encoder, adapters merged, and its head: token ids to class scores."""

    def __init__(self, compact: CompactModel, device: torch.device) -> None:
        self._encoder = AutoModel.from_pretrained(
            str(compact.encoder),
            dtype=torch.float32,
            local_files_only=True,
            add_pooling_layer=False,
        )
        # Merged in fp32, rounded once: adapters are too fine for bfloat16.
        merged = merge_adapters(load_file(compact.encoder / "model.safetensors"), compact.adapters)
        own = self._encoder.state_dict()
        self._encoder.load_state_dict({name: torch.from_numpy(merged[name]) for name in own})
        self._encoder.to(device, _precision(device)).eval()
        self._head = [
            (
                torch.from_numpy(layer.weight).to(device),
                torch.from_numpy(layer.bias).to(device),
                layer.activation == "Tanh",
            )
            for layer in compact.head.layers
        ]

    def __call__(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        last = self._encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        features: torch.Tensor = last[:, 0].float()
        for weight, bias, bent in self._head:
            features = features @ weight + bias
            features = torch.tanh(features) if bent else features
        return features


def _prepare(device: str, threads: int) -> torch.device:
    place = torch.device(device)
    if place.type == "cpu":
        torch.set_num_threads(threads)
    elif not torch.cuda.is_available():
        raise ModelUnavailable(
            f'the sentiment model is set to run on "{device}", and torch sees no such device here; '
            'set FINSIGHT_SENTIMENT__DEVICE to "cpu" or "auto"'
        )
    return place


def _precision(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "cpu" else torch.bfloat16
