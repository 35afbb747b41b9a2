"""Events that a group could not handle, kept apart until a person looks at them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from finsight.adapters.events.redis_stream_records import (
    EVENT_FIELD,
    EVENTS_KEY,
    ONLY_FOR_FIELD,
    is_stream_id,
    readable,
)
from finsight.domain.errors import NotFound
from finsight.domain.timeframe import from_ms
from finsight.ports.events import DeadLetter

DEAD_LETTERS_KEY = "finsight:dead-letters"

# Both move an entry from one stream to another in one step: a crash leaves it in one
# of the two, and of two callers one moves it.
_BURY = f"""
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
local event = ''
if entry then
  for i = 1, #entry[2], 2 do
    if entry[2][i] == '{EVENT_FIELD}' then event = entry[2][i + 1] end
  end
end
redis.call('XADD', KEYS[2], '*', 'group', ARGV[1], 'event', event, 'error', ARGV[3])
return 1
"""
_RESEND = f"""
local letter = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1]
if not letter then return false end
local fields = {{}}
for i = 1, #letter[2], 2 do fields[letter[2][i]] = letter[2][i + 1] end
local id = redis.call('XADD', KEYS[1], '*', '{EVENT_FIELD}', fields['event'],
  '{ONLY_FOR_FIELD}', fields['group'])
redis.call('XDEL', KEYS[2], ARGV[1])
return id
"""


class RedisDeadLetters:
    """A stream of dead letters. Raises redis-py's errors: its caller translates them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._bury = redis.register_script(_BURY)
        self._resend = redis.register_script(_RESEND)

    async def bury(self, group: str, delivery_id: str, error: str) -> None:
        """Acknowledge a delivery for `group` and keep its event as a dead letter.

        Harmless when the group has acknowledged it already.
        """
        await self._bury(keys=[EVENTS_KEY, DEAD_LETTERS_KEY], args=[group, delivery_id, error])

    async def newest(self, limit: int) -> list[DeadLetter]:
        entries: Any = await self._redis.xrevrange(DEAD_LETTERS_KEY, count=limit)
        return [
            DeadLetter(
                id=readable(entry_id),
                group=readable(fields.get(b"group")),
                event_json=readable(fields.get(b"event")),
                error=readable(fields.get(b"error")),
                failed_at=_when(readable(entry_id)),
            )
            for entry_id, fields in entries
        ]

    async def count(self) -> int:
        return int(await self._redis.xlen(DEAD_LETTERS_KEY))

    async def resend(self, dead_letter_id: str) -> str:
        """Raises: NotFound."""
        moved = None
        if is_stream_id(dead_letter_id):
            moved = await self._resend(keys=[EVENTS_KEY, DEAD_LETTERS_KEY], args=[dead_letter_id])
        if moved is None:
            raise NotFound(f"there is no dead letter '{dead_letter_id}'")
        return readable(moved)


def _when(entry_id: str) -> datetime:
    return from_ms(int(entry_id.split("-")[0]))
