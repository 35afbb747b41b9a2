"""How a part of the platform is doing."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.timeframe import UtcDatetime


class PartState(StrEnum):
    """What a part can say of itself."""

    STARTING = "starting"
    OK = "ok"
    LATE = "late"
    FAILED = "failed"
    STOPPED = "stopped"


class PartHealth(BaseModel):
    """One part, its state, and how old its data is.

    A part is `late` when its newest data is older than it should be, whatever its
    connections look like; `failed` when it needs a person; `stopped` when a person
    stopped it. A part that others need (all but the collectors) makes the platform not
    ready while it is `starting` or `failed`.
    """

    model_config = ConfigDict(frozen=True)

    part: str = Field(examples=["candles:binance:BTC-USDT:1h"])
    state: PartState
    detail: str = Field(default="", description="one sentence: what is wrong and what to do")
    newest_at: UtcDatetime | None = Field(default=None, description="when its newest data is from")
    age_s: float | None = Field(default=None, ge=0, description="how old that is, in seconds")

    @property
    def is_collector(self) -> bool:
        """Whether it brings in one series or feed, or those of one venue."""
        return self.part.partition(":")[0] in ("candles", "news")
