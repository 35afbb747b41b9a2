"""A backfill that somebody asked for, and how far it has come."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finsight.domain.candle import Series
from finsight.domain.timeframe import UtcDatetime


class BackfillState(StrEnum):
    """Where a backfill stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (BackfillState.DONE, BackfillState.FAILED, BackfillState.CANCELLED)


class Backfill(BaseModel):
    """Fetch what is missing of `series` between `start` and `end`.

    With `gaps_only`, only the holes between what was fetched before are asked for.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(min_length=1)
    series: Series
    start: UtcDatetime = Field(description="the first moment wanted")
    end: UtcDatetime = Field(description="the first moment no longer wanted")
    gaps_only: bool = False
    state: BackfillState = BackfillState.QUEUED
    done: float = Field(default=0.0, ge=0, le=1, description="share of the span that is fetched")
    candles: int = Field(default=0, ge=0, description="how many were stored")
    error: str | None = Field(default=None, description="why it failed")
    notes: tuple[str, ...] = Field(default=(), description="what the venue could not give")
    created_at: UtcDatetime
    updated_at: UtcDatetime

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"a backfill must end after it starts: {self.start} to {self.end}")
        return self

    def moved(self, state: BackfillState, at: datetime, error: str | None = None) -> Backfill:
        """Return it in another state."""
        done = 1.0 if state is BackfillState.DONE else self.done
        changes = {"state": state, "updated_at": at, "error": error, "done": done}
        return self.model_copy(update=changes)
