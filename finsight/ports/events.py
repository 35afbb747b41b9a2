"""What FinSight needs of an event bus."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from finsight.domain.events import Event

MAX_ATTEMPTS = 5
"""How often a delivery is tried before it becomes a dead letter."""


@dataclass(frozen=True)
class Delivery:
    """One event handed to one consumer; `attempt` counts from 1."""

    id: str
    event: Event
    attempt: int


@dataclass(frozen=True)
class DeadLetter:
    """An event that a group failed to handle `MAX_ATTEMPTS` times."""

    id: str
    group: str
    event_json: str
    error: str
    failed_at: datetime


class EventBus(Protocol):
    """Carries events at least once to every group, to one consumer of each.

    Events are kept in the order they were published. All methods raise
    `StoreUnavailable` when the bus does not answer.
    """

    async def publish(self, events: Sequence[Event]) -> list[str]:
        """Append `events`; return their ids, which rise."""
        ...

    async def receive(
        self, group: str, consumer: str, kinds: Sequence[str], max_events: int, wait_s: float
    ) -> list[Delivery]:
        """Return up to `max_events` of `kinds` for `group`, waiting up to `wait_s` for the first.

        First those that a dead consumer of the group took and left for too long,
        then new ones. A new group starts at the oldest event kept. Events of other
        kinds are passed over for this group. An event already tried `MAX_ATTEMPTS`
        times, or one that can't be read, becomes a dead letter and is not returned.
        """
        ...

    async def acknowledge(self, group: str, delivery_ids: Sequence[str]) -> None:
        """Say that these were handled: the group never sees them again."""
        ...

    async def fail(self, group: str, delivery: Delivery, error: str) -> None:
        """Say that handling failed: it is tried again later, or becomes a dead letter."""
        ...

    async def put_off(self, group: str, delivery: Delivery, pause_s: float) -> None:
        """Say that it could not be tried now, through no fault of its own.

        It comes again after `pause_s` (at most half a minute), and this attempt isn't counted.
        """
        ...

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return dead letters, newest first."""
        ...

    async def count_dead_letters(self) -> int: ...

    async def resend(self, dead_letter_id: str) -> str:
        """Publish a dead letter's event again for its group alone and forget the letter.

        Raises: NotFound.
        """
        ...

    def follow(self, after_id: str | None) -> AsyncIterator[tuple[str, Event] | None]:
        """Yield (id, event) as they are published, after `after_id` or from now on.

        Yields None at least every 15 seconds when nothing happens, so that the
        caller can send a heartbeat. For watching, not for work: nothing is acknowledged.
        """
        ...

    async def ping(self) -> None:
        """Return if the bus answers."""
        ...

    async def close(self) -> None: ...
