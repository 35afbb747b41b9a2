"""What FinSight needs to know the time."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Says what time it is, in UTC.

    A part that decides what has closed, what is due or what is stale asks this
    clock, so that recordings replay at the time they were made.
    """

    def now(self) -> datetime: ...
