"""Sentiment: of texts given, and of a symbol's news over time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from finsight.deployments.http_ports import Ports
from finsight.deployments.routes.asked import AskedSpan
from finsight.domain.attribution import (
    MAX_WORDS,
    MAX_WORDS_AT_ONCE,
    Attribution,
    WordShare,
)
from finsight.domain.errors import InvalidInput
from finsight.domain.sentiment import (
    MAX_TEXT_CHARACTERS,
    SentimentLabel,
    SentimentScore,
    ShadowAgreement,
    TrendPoint,
)
from finsight.domain.timeframe import Timeframe
from finsight.services.sentiment_explaining import SentimentExplaining

router = APIRouter(prefix="/sentiment", tags=["sentiment"])

MAX_TEXTS = 256
MAX_TREND_POINTS = 2000


class TextsToScore(BaseModel):
    """Up to 256 texts of up to 100,000 characters."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"texts": ["Bitcoin surges past its record", "Exchange halts withdrawals"]}
        },
    )

    texts: list[str] = Field(min_length=1, max_length=MAX_TEXTS)

    @field_validator("texts")
    @classmethod
    def _has_something_to_score(cls, texts: list[str]) -> list[str]:
        for number, text in enumerate(texts):
            if _has_half_a_character(text):
                raise ValueError(f"text {number} holds half a character (a lone surrogate)")
            if not text.strip():
                raise ValueError(f"text {number} is empty; there is nothing to score")
            if len(text) > MAX_TEXT_CHARACTERS:
                raise ValueError(
                    f"text {number} has {len(text):,} characters; at most "
                    f"{MAX_TEXT_CHARACTERS:,} are scored: split it"
                )
        return texts


class ScoredText(BaseModel):
    """Three probabilities that sum to 1, and what they say."""

    negative: float
    neutral: float
    positive: float
    label: SentimentLabel
    score: float = Field(description="positive minus negative, in [-1, 1]")
    model: str
    model_version: str
    parts: int = Field(description="pieces a long text was scored in")
    words: list[WordShare] | None = Field(
        default=None, description="with explain=true: each word's share of the score"
    )
    base: float | None = Field(
        default=None,
        description="with explain=true: the score without any word; with all contributions "
        "it makes the score",
    )


class ScoredTexts(BaseModel):
    """One score a text, in the order given."""

    scores: list[ScoredText]


class SentimentTrend(BaseModel):
    """One point a bucket; a bucket without articles has no score."""

    symbol: str | None
    start: datetime
    end: datetime
    bucket_s: float
    articles: int
    score: float | None = Field(description="mean over all articles, each counted once")
    points: list[TrendPoint]


class ShadowAgreements(BaseModel):
    """One line for each version that served and each that was its shadow."""

    agreements: list[ShadowAgreement]


@router.post("/score", response_model=ScoredTexts, response_model_exclude_none=True)
async def score_texts(
    ports: Ports,
    body: TextsToScore,
    explain: Annotated[
        bool,
        Query(
            description=f"also say which words the scores came from; texts of up to {MAX_WORDS} "
            f"words, {MAX_WORDS_AT_ONCE} together"
        ),
    ] = False,
) -> Response:
    """Score texts: negative, neutral or positive for the price of what they speak of."""
    if explain:
        explained = await SentimentExplaining(ports.sentiment).explain(body.texts)
        return Response(
            orjson.dumps({"scores": [_explained(one) for one in explained]}),
            media_type="application/json",
        )
    scores = await ports.sentiment.score(body.texts)
    # Written out here: checking our own numbers once more costs as much as a short text's score.
    document = {"scores": [_answer(score) for score in scores]}
    return Response(orjson.dumps(document), media_type="application/json")


@router.get("/trend")
async def sentiment_trend(
    ports: Ports,
    span: AskedSpan,
    symbol: Annotated[
        str | None,
        Query(
            pattern=r"^[A-Za-z0-9]{1,15}$",
            description="base currency; all articles when left out",
            examples=["BTC"],
        ),
    ] = None,
    bucket: Annotated[
        Timeframe, Query(description="how long one point covers", examples=["1h"])
    ] = Timeframe.H1,
) -> SentimentTrend:
    """How the news about a symbol sounded over time, by when it was published."""
    if bucket.is_calendar:
        raise InvalidInput("months differ in length; ask for buckets of a day or a week")
    now = ports.clock.now()
    end = span.end or bucket.next(bucket.floor(now))
    start = bucket.floor(span.start or end - 24 * bucket.duration)
    if start >= end:
        raise InvalidInput(f"start ({start.isoformat()}) must be before end ({end.isoformat()})")
    if (end - start) / bucket.duration > MAX_TREND_POINTS:
        raise InvalidInput(
            f"that is more than {MAX_TREND_POINTS} points; ask for a longer bucket or less time"
        )
    wanted = symbol.upper() if symbol else None
    points = await ports.articles.trend(wanted, start, end, bucket.duration)
    articles = sum(point.articles for point in points)
    total = sum(point.articles * point.score for point in points if point.score is not None)
    return SentimentTrend(
        symbol=wanted,
        start=start,
        end=end,
        bucket_s=bucket.duration / timedelta(seconds=1),
        articles=articles,
        score=total / articles if articles else None,
        points=points,
    )


@router.get("/agreement")
async def shadow_agreement(ports: Ports) -> ShadowAgreements:
    """How far challengers that score as shadows agree with the scores given out."""
    return ShadowAgreements(agreements=await ports.articles.shadow_agreement())


def _has_half_a_character(text: str) -> bool:
    # JSON can spell one half of a surrogate pair; no encoding can write it again.
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _answer(made: SentimentScore) -> dict[str, Any]:
    return {**dict(made), "label": made.label.value, "score": made.score}


def _explained(made: Attribution) -> dict[str, Any]:
    words = [dict(word) for word in made.words]
    return {**_answer(made.score), "words": words, "base": made.base}
