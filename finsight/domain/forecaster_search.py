"""A search for the best recipe: what was asked for, and how each trial went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.recipe_space import RecipeSpace
from finsight.domain.timeframe import Timeframe, UtcDatetime

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class TrialState(StrEnum):
    """How far a trial is. An open one waits, learns, or goes on when its search is resumed."""

    OPEN = "open"
    FINISHED = "finished"
    STOPPED = "stopped early"
    FAILED = "failed"


class Reported(BaseModel):
    """The validation loss after so many gradient steps."""

    model_config = ConfigDict(frozen=True)

    step: int
    loss: float = Field(allow_inf_nan=True)


class SearchPlan(BaseModel):
    """What was asked for: it does not change while a search lives.

    Units:
        trials: how many recipes are tried; None where only the time is limited.
        minutes: how long it may work, over all its sessions; None for as long as it takes.
        cpus: those that one trial takes.
        until: candles that closed after it are not seen, so that a search which is
            resumed a week later compares its trials on the same candles.
        fingerprint: of those candles.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=NAME_PATTERN)
    timeframe: Timeframe
    space: RecipeSpace
    base: ForecasterRecipe
    trials: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    cpus: float = Field(default=1.0, gt=0)
    seed: int = 1
    until: UtcDatetime
    fingerprint: str
    made_at: UtcDatetime

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.trials is None and self.minutes is None:
            raise ValueError("a search needs an end: a number of trials, or of minutes")
        return self


class TrialRecord(BaseModel):
    """One recipe that is tried, and what came of it so far.

    `losses` rise in steps; `restarts` counts how often its process was lost;
    `ended_s` is how long the search had worked when the trial ended.
    """

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=1)
    recipe: ForecasterRecipe
    values: Mapping[str, float]
    losses: tuple[Reported, ...] = ()
    state: TrialState = TrialState.OPEN
    reason: str = ""
    restarts: int = 0
    began_s: float | None = None
    ended_s: float | None = None

    @property
    def step(self) -> int:
        """The last step that was reported."""
        return self.losses[-1].step if self.losses else 0

    @property
    def best(self) -> float:
        """The lowest validation loss so far; infinite where there is none."""
        found = [one.loss for one in self.losses if math.isfinite(one.loss)]
        return min(found, default=math.inf)

    def reported(self, step: int, loss: float) -> TrialRecord:
        """Return it with one more loss; one that is known already changes nothing."""
        if step <= self.step:
            return self
        return self.model_copy(update={"losses": (*self.losses, Reported(step=step, loss=loss))})


def best_of(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the trial with the lowest validation loss, or None where none has one."""
    judged = [one for one in records if one.state is not TrialState.FAILED]
    lowest = min(judged, key=lambda one: one.best, default=None)
    return lowest if lowest is not None and math.isfinite(lowest.best) else None


def ranked(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials, the best first; those without a loss last."""
    return sorted(records, key=lambda one: (one.state is TrialState.FAILED, one.best, one.number))


def differing(records: Sequence[TrialRecord]) -> list[str]:
    """Return the names of the parameters that are not the same in all trials."""
    names = {name: None for one in records for name in one.values}
    return [
        name
        for name in names
        if len({one.values.get(name) for one in records if name in one.values}) > 1
    ]
