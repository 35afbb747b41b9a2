"""Settings to sentiment models, and to who reads versions that do not serve yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finsight.settings import Settings
from finsight.wiring.forecasters import naive_forecaster, read_forecaster
from finsight.wiring.registry import open_model_registry

if TYPE_CHECKING:
    from pathlib import Path

    from finsight.ports.models import (
        ModelReference,
        SentimentModel,
    )
    from finsight.ports.promotion import ModelReaders


def load_sentiment_model(settings: Settings, demanded: str | None = None) -> SentimentModel:
    """Load, in this order: the registry's champion, the settings' model, the compact one.

    `demanded` (a folder, a hub id or "compact") goes before them all.

    Raises: ModelUnavailable (a hub or folder that can't be read; the message says what to do).
    """
    from finsight.adapters.models.sentiment_loading import load_sentiment_model as load

    sentiment = settings.sentiment
    return load(
        open_model_registry(settings),
        configured=sentiment.model,
        device=sentiment.device,
        threads=sentiment.threads,
        cache_folder=settings.data_dir / "models",
        demanded=demanded,
    )


def export_sentiment_model(folder: Path) -> bool:
    """Leave in a model's folder what serves it on a CPU: its int8 graph.

    False where only torch can run the model. Raises: ModelUnavailable.
    """
    from finsight.adapters.models.onnx_export import export_into

    return export_into(folder)


def load_unrounded_sentiment_model(folder: Path, threads: int) -> SentimentModel:
    """Load a model's folder in full precision, on the CPU. Raises: ModelUnavailable."""
    from finsight.adapters.models.torch_sentiment import TorchSentimentModel

    return TorchSentimentModel.open(
        folder, name=folder.name, version="fp32", device="cpu", threads=threads
    )


def fetch_model_from_hub(hub_id: str) -> Path:
    """Return a model's folder, downloaded once. Raises: ModelUnavailable."""
    from finsight.adapters.models.model_hub import fetch_from_hub

    return fetch_from_hub(hub_id)


def read_sentiment_model(settings: Settings, reference: ModelReference) -> SentimentModel:
    """Load one version of the sentiment model. Raises: StoreUnavailable, ModelUnavailable."""
    from finsight.adapters.models.sentiment_loading import read_sentiment_version

    return read_sentiment_version(
        open_model_registry(settings),
        reference,
        device=settings.sentiment.device,
        threads=settings.sentiment.threads,
        cache_folder=settings.data_dir / "models",
    )


def open_model_readers(settings: Settings) -> ModelReaders:
    """What reads versions that don't serve, for comparing them with those that do."""
    from finsight.adapters.models.texts_seen import read_texts_seen
    from finsight.ports.promotion import ModelReaders

    def sentiment(reference: ModelReference | None) -> SentimentModel:
        if reference is None:
            return load_sentiment_model(settings, settings.sentiment.model or "compact")
        return read_sentiment_model(settings, reference)

    def texts_seen(reference: ModelReference | None) -> frozenset[str] | None:
        if reference is None:
            return None
        registry = open_model_registry(settings)
        return read_texts_seen(registry.fetch(reference, settings.data_dir / "models"))

    return ModelReaders(
        forecaster=lambda reference: read_forecaster(settings, reference),
        naive=naive_forecaster(),
        sentiment=sentiment,
        texts_seen=texts_seen,
    )
