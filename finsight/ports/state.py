"""What FinSight needs to remember across restarts besides its data."""

from typing import Any, Protocol


class StateStore(Protocol):
    """Small JSON documents by key: settings changed at run time, validators of feeds.

    All methods raise `StoreUnavailable` when the store does not answer.
    """

    async def load(self, key: str) -> dict[str, Any] | None:
        """Return the document, or None when there is none."""
        ...

    async def save(self, key: str, document: dict[str, Any]) -> None:
        """Store the document whole, replacing the one before."""
        ...

    async def delete(self, key: str) -> None:
        """Forget the document; harmless when there is none."""
        ...

    async def load_all(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return every document whose key starts with `prefix`, by key, sorted."""
        ...

    async def close(self) -> None: ...
