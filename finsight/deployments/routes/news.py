"""Articles: searched, listed, one by one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from finsight.deployments.http_ports import Ports
from finsight.domain.article import Article
from finsight.domain.sentiment import SentimentLabel
from finsight.domain.timeframe import AskedMoment
from finsight.ports.news import ArticleQuery, ScoredArticle

router = APIRouter(prefix="/news", tags=["news"])


class ArticleSentiment(BaseModel):
    """What the model made of the article, and when."""

    negative: float
    neutral: float
    positive: float
    label: SentimentLabel
    score: float
    model: str
    model_version: str
    parts: int
    scored_at: datetime


class ArticleAnswer(Article):
    """An article, with its score where it has one."""

    sentiment: ArticleSentiment | None = None


class ArticleList(BaseModel):
    """One page, newest first; ask again with `next_cursor` for the next."""

    articles: list[ArticleAnswer]
    next_cursor: str | None = None


class SourceAnswer(BaseModel):
    """What is known of one source."""

    source: str
    articles: int
    newest: datetime | None


class SourceList(BaseModel):
    sources: list[SourceAnswer]


@router.get("/articles")
async def search_articles(
    ports: Ports,
    text: Annotated[
        str | None, Query(max_length=500, description="words in title or summary")
    ] = None,
    symbol: Annotated[
        str | None,
        Query(pattern=r"^[A-Za-z0-9]{1,15}$", description="base currency", examples=["BTC"]),
    ] = None,
    source: Annotated[str | None, Query(max_length=100, examples=["coindesk"])] = None,
    after: Annotated[AskedMoment | None, Query(description="published at or after")] = None,
    before: Annotated[AskedMoment | None, Query(description="published before")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[
        str | None, Query(max_length=500, description="`next_cursor` of the page before")
    ] = None,
) -> ArticleList:
    """Articles that meet every condition given, newest first, with their scores."""
    page = await ports.articles.search(
        ArticleQuery(
            text=text,
            symbol=symbol.upper() if symbol else None,
            source=source,
            after=after,
            before=before,
            limit=limit,
            cursor=cursor,
        )
    )
    return ArticleList(
        articles=[_answer(item) for item in page.items], next_cursor=page.next_cursor
    )


@router.get("/articles/{article_id}")
async def one_article(
    ports: Ports,
    article_id: Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="the article's id")],
) -> ArticleAnswer:
    """One article by its id."""
    return _answer(await ports.articles.get(article_id))


@router.get("/sources")
async def list_sources(ports: Ports) -> SourceList:
    """Where articles came from so far, and the newest of each."""
    return SourceList(
        sources=[
            SourceAnswer(source=s.source, articles=s.articles, newest=s.newest)
            for s in await ports.articles.sources()
        ]
    )


def _answer(item: ScoredArticle) -> ArticleAnswer:
    found: dict[str, Any] = dict(item.article)
    if item.score is not None:
        made = item.score.sentiment
        found["sentiment"] = ArticleSentiment(
            **dict(made), label=made.label, score=made.score, scored_at=item.score.scored_at
        )
    return ArticleAnswer(**found)
