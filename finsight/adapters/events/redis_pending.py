"""Deliveries that a group was given and has not acknowledged."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from finsight.adapters.events.redis_stream_records import EVENTS_KEY, readable


class PendingDelivery(NamedTuple):
    """`attempts` is how often it was delivered so far."""

    id: str
    consumer: str
    attempts: int


class PendingDeliveries:
    """The list that Redis keeps of them. Raises redis-py's errors: its caller translates them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def entries(
        self,
        group: str,
        limit: int,
        *,
        first: str = "-",
        last: str = "+",
        of_consumer: str | None = None,
        idle_ms: int | None = None,
    ) -> list[PendingDelivery]:
        """Return up to `limit`, oldest first; those alone that waited for `idle_ms`, if given."""
        try:
            entries = await self._redis.xpending_range(
                EVENTS_KEY, group, first, last, limit, of_consumer, idle_ms
            )
        except ResponseError as exc:
            if "NOGROUP" not in str(exc):
                raise
            return []
        return [
            PendingDelivery(
                id=readable(entry["message_id"]),
                consumer=readable(entry["consumer"]),
                attempts=int(entry["times_delivered"]),
            )
            for entry in entries
        ]

    async def set_idle(
        self,
        group: str,
        consumer: str,
        ids: list[Any],
        idle_ms: int,
        attempts: int | None = None,
    ) -> None:
        """Make deliveries look as if they had waited `idle_ms`, and been tried `attempts` times."""
        await self._redis.xclaim(
            EVENTS_KEY, group, consumer, 0, ids, idle=idle_ms, retrycount=attempts, justid=True
        )
