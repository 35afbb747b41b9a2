"""How good or bad a text is for the price of what it speaks of."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.timeframe import UtcDatetime

MAX_TEXT_CHARACTERS = 100_000


class SentimentLabel(StrEnum):
    """The most probable of the three classes."""

    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    POSITIVE = "positive"


class SentimentScore(BaseModel):
    """What a model made of one text.

    Units:
        negative, neutral, positive: probabilities that sum to 1.
        score: positive minus negative, in [-1, 1].
    """

    model_config = ConfigDict(frozen=True)

    negative: float = Field(ge=0, le=1)
    neutral: float = Field(ge=0, le=1)
    positive: float = Field(ge=0, le=1)
    model: str
    model_version: str
    parts: int = Field(default=1, ge=1, description="pieces a long text was scored in")

    @property
    def score(self) -> float:
        """positive - negative, in [-1, 1]."""
        return self.positive - self.negative

    @property
    def label(self) -> SentimentLabel:
        """The most probable class; neutral wins a tie."""
        if self.neutral >= max(self.positive, self.negative):
            return SentimentLabel.NEUTRAL
        return (
            SentimentLabel.POSITIVE if self.positive >= self.negative else SentimentLabel.NEGATIVE
        )


class ArticleScore(BaseModel):
    """The score of one article, and when it was made."""

    model_config = ConfigDict(frozen=True)

    article_id: str
    sentiment: SentimentScore
    scored_at: UtcDatetime


class ShadowAgreement(BaseModel):
    """How far a shadow's scores agree with those given out, over the articles that both scored.

    Units:
        same_label: share of the articles that both gave the same class, in [0, 1].
        mean_difference: mean absolute difference of the scores, in [0, 2].
    """

    model_config = ConfigDict(frozen=True)

    model: str
    model_version: str
    shadow: str
    shadow_version: str
    articles: int = Field(ge=1)
    same_label: float = Field(ge=0, le=1)
    mean_difference: float = Field(ge=0)


class TrendPoint(BaseModel):
    """The sentiment of one symbol's articles published in `[start, end)`.

    `score` is the mean of the articles' scores, each article counted once; None
    when there were none (never a made-up 0). `articles` says how many there were.
    """

    model_config = ConfigDict(frozen=True)

    start: UtcDatetime
    end: UtcDatetime
    articles: int = Field(ge=0)
    score: float | None = Field(default=None, ge=-1, le=1)
