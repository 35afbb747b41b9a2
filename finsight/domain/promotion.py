"""Who serves, who would like to, and every decision about it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.timeframe import UtcDatetime

CHAMPION = "champion"
"""The alias of the version that answers."""

CHALLENGER = "challenger"
"""The alias of the version that would like to: shadow and canary follow it."""


class Verdict(StrEnum):
    """What became of the question whether a version shall serve."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    FORCED = "forced"
    ROLLED_BACK = "rolled back"


class PromotionDecision(BaseModel):
    """One decision, kept for ever beside the models.

    `version` is the one that was asked about (after a rollback: the one that serves
    again), `before` the champion until then. `by` is a person or a part of the platform,
    `reason` is in words; `evidence` holds the figures that it rests on.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    verdict: Verdict
    version: str
    before: str | None = None
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    decided_at: UtcDatetime
    evidence: Mapping[str, float] = Field(default_factory=dict)
