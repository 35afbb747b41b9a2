"""The event bus on one Redis stream."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from finsight.adapters.events.redis_dead_letters import RedisDeadLetters
from finsight.adapters.events.redis_pending import PendingDeliveries
from finsight.adapters.events.redis_stream_records import (
    EVENTS_KEY,
    Record,
    event_fields,
    is_stream_id,
    readable,
    records_of,
)
from finsight.adapters.events.redis_trimming import StreamTrimming
from finsight.adapters.redis_connection import connect, redis_errors_translated
from finsight.domain.errors import InvalidInput, StoreUnavailable
from finsight.domain.events import Event
from finsight.ports.events import MAX_ATTEMPTS, DeadLetter, Delivery

_log = logging.getLogger(__name__)

_SLICE_S = 1.0
"""How long one blocking read waits at most: between two, what has become due is looked for."""

_HEARTBEAT_S = 10.0
_LEFT_AT_MOST = 10_000
_FIRST_PAUSE_MS = 2_000
_LONGER_EACH_TIME = 3
_ABANDONED = "not handled in {} attempts; its consumers ended or hung before they said why"


class _Consumer(NamedTuple):
    group: str
    name: str


class RedisStreamsBus:
    """Implements `ports.events.EventBus` over Redis Streams, on Redis 7+ or Valkey.

    One stream holds every kind of event, so that there is one order. An event that a
    dead letter's `resend` puts back names the group it is for; the others pass over it.

    `claim_after` is how long a delivery may stay unacknowledged before another
    consumer takes it: longer than a batch takes to handle. `keep_events` are kept for
    `follow` though every group has acknowledged them.

    Closing the bus gives back what was received but neither acknowledged nor failed,
    and that does not count as an attempt: a consumer that waits for a model to come
    up again loses nothing. One that is killed can't close it, so there it counts.
    """

    def __init__(
        self,
        url: str,
        *,
        claim_after: timedelta = timedelta(seconds=30),
        keep_events: int = 10_000,
    ) -> None:
        self._redis = connect(url)
        self._claim_after_ms = claim_after // timedelta(milliseconds=1)
        self._slice_s = min(_SLICE_S, claim_after.total_seconds())
        self._pending = PendingDeliveries(self._redis)
        self._dead = RedisDeadLetters(self._redis)
        self._trimming = StreamTrimming(self._redis, keep_events)
        self._held: dict[_Consumer, dict[str, int]] = {}

    async def publish(self, events: Sequence[Event]) -> list[str]:
        if not events:
            return []
        with redis_errors_translated():
            async with self._redis.pipeline(transaction=True) as pipeline:
                for event in events:
                    pipeline.xadd(EVENTS_KEY, event_fields(event))
                ids = await pipeline.execute()
            await self._trimming.after(len(events))
        return [readable(entry_id) for entry_id in ids]

    async def receive(
        self, group: str, consumer: str, kinds: Sequence[str], max_events: int, wait_s: float
    ) -> list[Delivery]:
        deadline = time.monotonic() + wait_s
        wanted = frozenset(kinds)
        with redis_errors_translated():
            while True:
                records = await self._take_over(group, consumer, max_events)
                if not records:
                    left_s = deadline - time.monotonic()
                    records = await self._read_new(
                        group, consumer, max_events, min(left_s, self._slice_s)
                    )
                deliveries = await self._sorted_out(group, wanted, records)
                self._held[_Consumer(group, consumer)] |= {d.id: d.attempt for d in deliveries}
                if deliveries or (not records and time.monotonic() >= deadline):
                    return deliveries

    async def acknowledge(self, group: str, delivery_ids: Sequence[str]) -> None:
        if delivery_ids:
            with redis_errors_translated():
                await self._redis.xack(EVENTS_KEY, group, *delivery_ids)
            self._hold_no_longer(group, delivery_ids)

    async def fail(self, group: str, delivery: Delivery, error: str) -> None:
        self._hold_no_longer(group, [delivery.id])
        with redis_errors_translated():
            if delivery.attempt >= MAX_ATTEMPTS:
                await self._dead.bury(group, delivery.id, error)
                return
            # An event comes back once it has been idle for `claim_after`; setting how
            # long it has been idle is how to say when.
            pause_ms = _FIRST_PAUSE_MS * _LONGER_EACH_TIME ** (delivery.attempt - 1)
            await self._due_after(group, delivery.id, pause_ms)

    async def put_off(self, group: str, delivery: Delivery, pause_s: float) -> None:
        self._hold_no_longer(group, [delivery.id])
        with redis_errors_translated():
            await self._due_after(group, delivery.id, int(pause_s * 1000), delivery.attempt - 1)

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        with redis_errors_translated():
            return await self._dead.newest(limit)

    async def count_dead_letters(self) -> int:
        with redis_errors_translated():
            return await self._dead.count()

    async def resend(self, dead_letter_id: str) -> str:
        with redis_errors_translated():
            return await self._dead.resend(dead_letter_id)

    async def follow(self, after_id: str | None) -> AsyncIterator[tuple[str, Event] | None]:
        """As the port says; `after_id` that is none of ours raises `InvalidInput`."""
        if after_id is not None and not is_stream_id(after_id):
            raise InvalidInput(f"'{after_id}' is not the id of an event")
        with redis_errors_translated():
            last = after_id or await self._newest_id()
        heard = time.monotonic()
        while True:
            with redis_errors_translated():
                answer = await self._redis.xread(
                    {EVENTS_KEY: last}, count=100, block=int(_SLICE_S * 1000)
                )
            for record in records_of(answer):
                last = record.id
                if record.event is not None and record.only_for is None:
                    heard = time.monotonic()
                    yield record.id, record.event
            if time.monotonic() - heard >= _HEARTBEAT_S:
                heard = time.monotonic()
                yield None

    async def ping(self) -> None:
        with redis_errors_translated():
            await self._redis.ping()

    async def close(self) -> None:
        try:
            with redis_errors_translated():
                for consumer, held in self._held.items():
                    await self._give_back(consumer, held)
        except StoreUnavailable as exc:
            _log.info("nothing could be given back: %s", exc)
        self._held.clear()
        await self._redis.aclose()

    def _hold_no_longer(self, group: str, ids: Sequence[str]) -> None:
        for consumer, held in self._held.items():
            if consumer.group == group:
                for delivery_id in ids:
                    held.pop(delivery_id, None)

    async def _due_after(
        self, group: str, delivery_id: str, pause_ms: int, attempts: int | None = None
    ) -> None:
        idle_ms = max(0, self._claim_after_ms - pause_ms)
        for entry in await self._pending.entries(group, 1, first=delivery_id, last=delivery_id):
            await self._pending.set_idle(group, entry.consumer, [delivery_id], idle_ms, attempts)

    async def _give_back(self, consumer: _Consumer, held: dict[str, int]) -> None:
        group, name = consumer
        for delivery_id, attempt in held.items():
            if await self._pending.entries(
                group, 1, first=delivery_id, last=delivery_id, of_consumer=name
            ):
                await self._pending.set_idle(
                    group, name, [delivery_id], self._claim_after_ms, attempts=attempt - 1
                )

    async def _newest_id(self) -> str:
        newest: Any = await self._redis.xrevrange(EVENTS_KEY, count=1)
        return readable(newest[0][0]) if newest else "0-0"

    async def _take_over(self, group: str, consumer: str, max_events: int) -> list[Record]:
        """Claim what was left: by others for too long, by this consumer's predecessor at all."""
        if _Consumer(group, consumer) not in self._held:
            # A consumer's name is one process's: what it holds already, its predecessor
            # left when it died, so there is nothing to wait for.
            left = await self._pending.entries(group, _LEFT_AT_MOST, of_consumer=consumer)
            if left:
                ids = [entry.id for entry in left]
                await self._pending.set_idle(group, consumer, ids, self._claim_after_ms)
            self._held[_Consumer(group, consumer)] = {}
        due = await self._pending.entries(group, max_events, idle_ms=self._claim_after_ms)
        again = {entry.id: entry.attempts + 1 for entry in due if entry.attempts < MAX_ATTEMPTS}
        for entry in due:
            if entry.id not in again:
                await self._dead.bury(group, entry.id, _ABANDONED.format(entry.attempts))
        if not again:
            return []
        # Of two consumers that see the same entry, the least idle time lets one have it.
        ids_due: list[Any] = list(again)
        claimed = await self._redis.xclaim(
            EVENTS_KEY, group, consumer, self._claim_after_ms, ids_due
        )
        records = records_of([(EVENTS_KEY, claimed)])
        return [replace(record, attempt=again[record.id]) for record in records]

    async def _read_new(
        self, group: str, consumer: str, max_events: int, wait_s: float
    ) -> list[Record]:
        # To Redis a block of 0 means for ever, and none at all means not to wait.
        block = int(wait_s * 1000) or None if wait_s > 0 else None
        try:
            answer = await self._redis.xreadgroup(
                group, consumer, {EVENTS_KEY: ">"}, count=max_events, block=block
            )
        except ResponseError as exc:
            if "NOGROUP" not in str(exc):
                raise
            await self._create_group(group)
            answer = await self._redis.xreadgroup(
                group, consumer, {EVENTS_KEY: ">"}, count=max_events
            )
        return records_of(answer)

    async def _create_group(self, group: str) -> None:
        try:
            await self._redis.xgroup_create(EVENTS_KEY, group, id="0", mkstream=True)
        except ResponseError as exc:
            if "BUSYGROUP" not in str(exc):  # another consumer was faster
                raise

    async def _sorted_out(
        self, group: str, wanted: frozenset[str], records: Sequence[Record]
    ) -> list[Delivery]:
        """Bury what can't be read, pass over what isn't wanted, return the rest."""
        deliveries: list[Delivery] = []
        passed_over: list[str] = []
        for record in records:
            if record.only_for not in (None, group):
                passed_over.append(record.id)
            elif record.event is None:
                await self._dead.bury(group, record.id, record.problem)
            elif record.event.kind not in wanted:
                passed_over.append(record.id)
            else:
                deliveries.append(Delivery(record.id, record.event, record.attempt))
        if passed_over:
            await self._redis.xack(EVENTS_KEY, group, *passed_over)
        return deliveries
