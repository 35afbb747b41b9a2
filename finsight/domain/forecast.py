"""A forecast: a path of prices with intervals, and why this model made it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.candle import Series
from finsight.domain.timeframe import UtcDatetime

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
"""What every forecaster answers: the median, and the ends of the 80 % and 95 % intervals."""


class Basis(StrEnum):
    """Why this model answered: how near its training was to the series asked for."""

    EXACT_SERIES = "exact series"
    SAME_TIMEFRAME = "same timeframe, other series"
    NAIVE = "naive"


class Role(StrEnum):
    """As what a model answered. What a shadow answers is kept and scored, and never an answer."""

    CHAMPION = "champion"
    CANARY = "canary"
    SHADOW = "shadow"


class ForecastStep(BaseModel):
    """The close of one future candle, in quote currency.

    `low_80`/`high_80` are the 10 % and 90 % quantiles, `low_95`/`high_95` the
    2.5 % and 97.5 % ones; `median` is the forecast itself.
    """

    model_config = ConfigDict(frozen=True)

    opened_at: UtcDatetime = Field(description="when the candle whose close is forecast opens")
    median: float = Field(gt=0)
    low_80: float = Field(gt=0)
    high_80: float = Field(gt=0)
    low_95: float = Field(gt=0)
    high_95: float = Field(gt=0)


class Forecast(BaseModel):
    """What a model expects of the next `horizon` candles of `series`.

    `origin` is the opening time of the last candle that the model saw; it had
    closed when the forecast was made. `naive` is the naive forecaster's path
    over the same candles: every forecast is shown beside it.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    series: Series
    origin: UtcDatetime
    made_at: UtcDatetime
    last_close: float = Field(gt=0)
    model: str
    model_version: str
    basis: Basis
    reason: str = Field(description="in words: which model, why, and what fell back")
    steps: tuple[ForecastStep, ...] = Field(min_length=1)
    naive: tuple[ForecastStep, ...] = Field(min_length=1)
    role: Role = Field(default=Role.CHAMPION, description="as what the model answered")

    @property
    def horizon(self) -> int:
        """How many candles ahead it looks."""
        return len(self.steps)
