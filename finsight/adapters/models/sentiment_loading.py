"""Where the sentiment model comes from, and in which form it runs."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from finsight.adapters.models.model_hub import fetch_from_hub
from finsight.domain.errors import ModelUnavailable, StoreUnavailable
from finsight.ports.models import ModelReference, ModelRegistry, SentimentModel

COMPACT = "compact"
"""Names the model that comes with the package where a folder or hub id may stand."""

_KIND = "sentiment"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Place:
    """Where models run here, and where what is made of them is kept."""

    device: str
    threads: int
    cache_folder: Path


def load_sentiment_model(
    registry: ModelRegistry,
    *,
    configured: str | None,
    device: str,
    threads: int,
    cache_folder: Path,
    demanded: str | None = None,
) -> SentimentModel:
    """Load `demanded`, else the registry's champion, else `configured`, else the compact model.

    `demanded` and `configured` are a folder, a hub id or "compact". A registry that is
    down is passed over, with a warning; a model that was asked for and can't be read
    is never replaced by another.

    Raises:
        ModelUnavailable: says which model can't be read, and what to do.
    """
    place = _Place(_device_here(device), threads, cache_folder)
    if demanded is not None:
        return _load_named(demanded, place)
    champion = _load_champion(registry, place)
    return champion or _load_named(configured or COMPACT, place)


def read_sentiment_version(
    registry: ModelRegistry,
    reference: ModelReference,
    *,
    device: str,
    threads: int,
    cache_folder: Path,
) -> SentimentModel:
    """Load one version of the registry. Raises: StoreUnavailable, ModelUnavailable."""
    folder = registry.fetch(reference, cache_folder)
    return _load_version(folder, reference, _Place(_device_here(device), threads, cache_folder))


def _load_champion(registry: ModelRegistry, place: _Place) -> SentimentModel | None:
    try:
        reference = registry.champion(_KIND)
        if reference is None:
            return None
        folder = registry.fetch(reference, place.cache_folder)
    except StoreUnavailable as exc:
        _log.warning("the model registry is down, looking for a sentiment model elsewhere: %s", exc)
        return None
    return _load_version(folder, reference, place)


def _load_version(folder: Path, reference: ModelReference, place: _Place) -> SentimentModel:
    name = reference.tags.get("model", _KIND)
    return _load_folder(folder, place, name=name, version=reference.version)


def _load_named(wanted: str, place: _Place) -> SentimentModel:
    if wanted == COMPACT:
        return _load_compact(place)
    folder = Path(wanted).expanduser()
    if folder.is_dir():
        return _load_folder(folder, place, name=folder.name, version=_weights_version(folder))
    if wanted.startswith(("/", ".", "~")) or wanted.count("/") > 1:
        raise ModelUnavailable(f"there is no model folder {wanted}; check the sentiment model set")
    snapshot = _download(wanted)
    # The hub names a snapshot's folder by its commit.
    return _load_folder(snapshot, place, name=wanted, version=snapshot.name[:12])


def _load_compact(place: _Place) -> SentimentModel:
    if place.device == "cpu":
        from finsight.adapters.models.onnx_sentiment import OnnxSentimentModel

        return OnnxSentimentModel.compact(place.cache_folder, threads=place.threads)
    from finsight.adapters.models.torch_sentiment import TorchSentimentModel

    return TorchSentimentModel.compact(device=place.device, threads=place.threads)


def _load_folder(folder: Path, place: _Place, *, name: str, version: str) -> SentimentModel:
    if place.device == "cpu":
        from finsight.adapters.models.onnx_sentiment import OnnxSentimentModel

        model = OnnxSentimentModel.open(
            folder, place.cache_folder, name=name, version=version, threads=place.threads
        )
        if model is not None:
            return model
    from finsight.adapters.models.torch_sentiment import TorchSentimentModel

    return TorchSentimentModel.open(
        folder, name=name, version=version, device=place.device, threads=place.threads
    )


def _download(hub_id: str) -> Path:
    """Raises: ModelUnavailable."""
    try:
        return fetch_from_hub(hub_id)
    except ModelUnavailable as exc:
        raise ModelUnavailable(
            f"the sentiment model {exc}. Connect once, or copy the model's folder here and set "
            "FINSIGHT_SENTIMENT__MODEL to it, or leave it unset for the compact model"
        ) from exc


def _weights_version(folder: Path) -> str:
    """A version for a folder that has none: the start of a hash of its weights."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _device_here(device: str, exists: Callable[[str], bool] = os.path.exists) -> str:
    """Turn "auto" into "cuda" or "cpu", without loading torch where there is no GPU at all."""
    if device != "auto":
        return device
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or not any(map(exists, ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"))):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
