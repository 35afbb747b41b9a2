"""Models of the hub (huggingface.co, or whatever HF_ENDPOINT names), downloaded once."""

from __future__ import annotations

from pathlib import Path

from finsight.domain.errors import ModelUnavailable

_MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "pytorch_model*.bin"]


def fetch_from_hub(hub_id: str) -> Path:
    """Return the folder of a model, from this machine's cache where the hub can't be reached.

    One try: transformers by itself makes dozens of them for a model that can't be had.

    Raises: ModelUnavailable (neither the hub nor the cache has it).
    """
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=_MODEL_FILES))
    except (OSError, ValueError, HfHubHTTPError, httpx.HTTPError) as exc:
        raise ModelUnavailable(
            f"{hub_id} is not on this machine and the hub didn't give it ({type(exc).__name__})"
        ) from exc
