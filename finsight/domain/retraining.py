"""When a model is trained again by itself: after a while, at a time of day, or on drift."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from finsight.domain.job_requests import (
    JobRequest,
    TrainForecaster,
    TrainSentiment,
    TuneForecaster,
)

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SHORTEST = timedelta(minutes=10)


def _read_span(given: Any) -> Any:
    if not isinstance(given, str) or given.startswith("P"):
        return given  # ISO 8601, as settings write it when they cross processes
    found = re.fullmatch(r"\s*(\d{1,5})\s*([mhdw])\s*", given)
    if found is None:
        raise ValueError(f"'{given}' is no span of time; expected such as 30m, 12h, 7d, 2w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


Span = Annotated[timedelta, BeforeValidator(_read_span)]


class RetrainingRule(BaseModel):
    """One model that is trained again by itself, and what makes it so.

    What was trained is compared with the champion afterwards and serves only if it is
    better, unless the job says `champion`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w-]{1,40}$", description="names the rule; may not change")
    job: JobRequest = Field(
        description="what is run: a kind and its options, such as "
        "{kind: train-forecaster, timeframe: 1h}"
    )
    every: Span | None = Field(default=None, description="so long after the last one: 7d, 12h")
    at: time | None = Field(
        default=None, description="at this time of day in UTC (03:00), `every` in whole days"
    )
    when_drift_above: float | None = Field(
        default=None,
        ge=0.05,
        le=10,
        description="a feature's PSI from which it is run (0.25 is usual), or errors that drifted",
    )
    at_most_every: Span = Field(
        default=timedelta(days=1), description="drift runs it no sooner after the last one"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> RetrainingRule:
        if not isinstance(self.job, TrainSentiment | TrainForecaster | TuneForecaster):
            raise ValueError(f"'{self.job.kind}' trains nothing: it can't be run by a rule")
        if isinstance(self.job, TrainSentiment) and not (self.job.champion or self.job.promote_on):
            raise ValueError(
                "a sentiment model is promoted on labelled texts: name some in `promote_on`, or "
                "let it serve at once with `champion`"
            )
        if self.every is None and self.when_drift_above is None:
            raise ValueError("a rule needs `every` or `when_drift_above`, else it never runs")
        for name, span in (("every", self.every), ("at_most_every", self.at_most_every)):
            if span is not None and span < _SHORTEST:
                raise ValueError(f"`{name}` is shorter than 10 minutes")
        if self.at is not None and (self.every is None or self.every % timedelta(days=1)):
            raise ValueError("`at` needs `every` in whole days, such as 1d")
        return self

    @property
    def model(self) -> str:
        """The registry's name of what it trains: 'sentiment', 'forecaster-1h'."""
        if isinstance(self.job, TrainForecaster | TuneForecaster):
            return f"forecaster-{self.job.timeframe}"
        return "sentiment"

    @property
    def request(self) -> JobRequest:
        """The job to submit: it asks for promotion unless it says how it shall serve."""
        job = self.job
        assert isinstance(job, TrainSentiment | TrainForecaster | TuneForecaster)
        at_once = not isinstance(job, TuneForecaster) and job.champion
        return job if at_once else job.model_copy(update={"promote": True})

    def due_at(self, last: datetime) -> datetime | None:
        """When it is due by the clock after `last`; None when only drift makes it run."""
        if self.every is None:
            return None
        due = last + self.every
        if self.at is None:
            return due
        return datetime.combine(due.date(), self.at.replace(tzinfo=None), UTC)
