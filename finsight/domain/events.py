"""Facts that parts of the platform tell each other, in the past tense."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from finsight.domain.candle import Series
from finsight.domain.timeframe import UtcDatetime


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    version: int = 1
    happened_at: UtcDatetime


class CandlesCollected(_Event):
    """New candles of `series` are in the store; `first` and `last` are opening times."""

    kind: Literal["CandlesCollected"] = "CandlesCollected"
    series: Series
    count: int = Field(ge=1)
    first: UtcDatetime
    last: UtcDatetime


class ArticleCollected(_Event):
    """An article is in the store for the first time."""

    kind: Literal["ArticleCollected"] = "ArticleCollected"
    article_id: str
    title: str
    source: str
    symbols: tuple[str, ...] = ()


class SentimentScored(_Event):
    """The score of an article is in the store."""

    kind: Literal["SentimentScored"] = "SentimentScored"
    article_id: str
    symbols: tuple[str, ...] = ()
    label: str
    score: float = Field(ge=-1, le=1)


class ForecastMade(_Event):
    """A forecast is in the store."""

    kind: Literal["ForecastMade"] = "ForecastMade"
    forecast_id: str
    series: Series
    model: str
    horizon: int = Field(ge=1)
    median: float
    naive: float


Event = Annotated[
    CandlesCollected | ArticleCollected | SentimentScored | ForecastMade,
    Field(discriminator="kind"),
]
EVENT_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads an event back from JSON: `EVENT_ADAPTER.validate_json(text)`."""
