"""How an event is written in the stream, and read back without ever failing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from finsight.domain.events import EVENT_ADAPTER, Event

EVENTS_KEY = "finsight:events"

EVENT_FIELD = "event"
ONLY_FOR_FIELD = "only_for"
"""Names the one group that an event sent again is for; absent on all others."""


@dataclass(frozen=True)
class Record:
    """One entry of the stream. `event` is None where it can't be read; `problem` says why."""

    id: str
    event: Event | None
    problem: str = ""
    only_for: str | None = None
    attempt: int = 1


def event_fields(event: Event) -> dict[Any, Any]:
    """The fields of the stream's entry for `event`."""
    return {EVENT_FIELD: event.model_dump_json()}


def records_of(answer: Any) -> list[Record]:
    """Read what XREAD, XREADGROUP (or XCLAIM, with its stream) answered."""
    return [
        _record(entry_id, fields)
        for _, entries in answer or []
        for entry_id, fields in entries
        if fields is not None  # the entry was deleted from the stream meanwhile
    ]


def is_stream_id(text: str) -> bool:
    """Whether `text` has the form of an entry's id: '1700000000000-0'."""
    return re.fullmatch(r"\d{1,19}-\d{1,19}", text) is not None


def readable(stored: Any) -> str:
    """Text of what Redis answered, "" for nothing; bytes that aren't UTF-8 become marks."""
    return "" if stored is None else bytes(stored).decode(errors="replace")


def _record(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Record:
    only_for = fields.get(ONLY_FOR_FIELD.encode())
    record = Record(
        id=readable(entry_id), event=None, only_for=None if only_for is None else readable(only_for)
    )
    stored = fields.get(EVENT_FIELD.encode())
    if stored is None:
        return replace(record, problem="the entry has no event")
    try:
        return replace(record, event=EVENT_ADAPTER.validate_json(stored))
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        return replace(record, problem=f"the event can't be read: {where}: {first['msg']}")
