"""Small JSON documents in one Redis hash."""

import json
from typing import Any

from finsight.adapters.redis_connection import connect, redis_errors_translated
from finsight.domain.errors import StoreUnavailable

STATE_KEY = "finsight:state"


class RedisStateStore:
    """Implements `ports.state.StateStore`."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)

    async def load(self, key: str) -> dict[str, Any] | None:
        with redis_errors_translated():
            stored = await self._redis.hget(STATE_KEY, key)
        return None if stored is None else _document(key, stored)

    async def save(self, key: str, document: dict[str, Any]) -> None:
        with redis_errors_translated():
            await self._redis.hset(STATE_KEY, key, json.dumps(document))

    async def delete(self, key: str) -> None:
        with redis_errors_translated():
            await self._redis.hdel(STATE_KEY, key)

    async def load_all(self, prefix: str) -> dict[str, dict[str, Any]]:
        # Documents are few and small; one answer is also one consistent picture.
        with redis_errors_translated():
            stored = await self._redis.hgetall(STATE_KEY)
        named = {_text(key): value for key, value in stored.items()}
        return {key: _document(key, named[key]) for key in sorted(named) if key.startswith(prefix)}

    async def close(self) -> None:
        await self._redis.aclose()


def _text(key: bytes | str) -> str:
    return key if isinstance(key, str) else key.decode()


def _document(key: str, stored: bytes | str) -> dict[str, Any]:
    try:
        document = json.loads(stored)
    except ValueError as exc:
        raise StoreUnavailable(f"what is stored under '{key}' isn't JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise StoreUnavailable(f"what is stored under '{key}' isn't a JSON object")
    return document
