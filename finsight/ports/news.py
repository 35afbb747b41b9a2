"""What FinSight needs from anything that supplies or keeps news."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from finsight.domain.article import Article
from finsight.domain.sentiment import ArticleScore, TrendPoint


@dataclass(frozen=True)
class Validators:
    """What a source gave us to ask "has it changed?" with."""

    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True)
class NewsAnswer:
    """One reading of a source.

    `articles` are complete but for what only the store knows (`also_in`,
    `story_id` and `first_seen_at` of an article it already has). `warnings` say,
    in plain words, what could not be read.
    """

    articles: tuple[Article, ...] = ()
    warnings: tuple[str, ...] = ()
    unchanged: bool = False
    validators: Validators = field(default_factory=Validators)


class NewsSource(Protocol):
    """Supplies articles: a feed, or a search."""

    @property
    def name(self) -> str:
        """Its name in the settings: 'coindesk'."""
        ...

    async def fetch(self, validators: Validators) -> NewsAnswer:
        """Read it once; `validators` are those of the last answer.

        Raises:
            SourceBusy, SourceUnavailable: try again later.
            SourceRefused: it will go on refusing (a wrong key, a forbidden address).
        """
        ...

    async def close(self) -> None:
        """Give back its connections."""
        ...


@dataclass(frozen=True)
class ArticleQuery:
    """Which articles to list: every condition given must hold. Newest first.

    `text` is matched against titles and summaries, word by word. `before` and
    `after` are on `published_at`: `after <= published_at < before`. `cursor` is
    what the page before this one ended with.
    """

    text: str | None = None
    symbol: str | None = None
    source: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True)
class ScoredArticle:
    """An article, and its score where it has one."""

    article: Article
    score: ArticleScore | None = None


@dataclass(frozen=True)
class ArticlePage:
    """One page of a listing; `next_cursor` is None on the last."""

    items: tuple[ScoredArticle, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class SourceSummary:
    """What a store holds of one source."""

    source: str
    articles: int
    newest: datetime | None


@dataclass(frozen=True)
class KnownSentiment:
    """A score with the moments that decide who may use it."""

    known_at: datetime
    published_at: datetime
    score: float


class ArticleStore(Protocol):
    """Keeps articles, at most one per canonical URL, and at most one score for each."""

    async def add(self, articles: Sequence[Article]) -> list[Article]:
        """Store `articles`; return those that are new, as stored, still unannounced.

        One that is there already keeps its first-seen time and gains a source in
        `also_in` when another feed has it. One whose title tells the same story
        as a recent one's gets that one's `story_id`. Raises: StoreUnavailable.
        """
        ...

    async def unannounced(self, limit: int) -> list[Article]:
        """Return articles stored but not marked announced, oldest first."""
        ...

    async def mark_announced(self, article_ids: Sequence[str]) -> None:
        """Remember that these were published on the event bus."""
        ...

    async def get(self, article_id: str) -> ScoredArticle:
        """Raises: NotFound, StoreUnavailable."""
        ...

    async def search(self, query: ArticleQuery) -> ArticlePage:
        """Raises: InvalidInput (a cursor that isn't ours), StoreUnavailable."""
        ...

    async def sources(self) -> list[SourceSummary]:
        """Return the sources seen so far, by name."""
        ...

    async def save_scores(self, scores: Sequence[ArticleScore]) -> list[str]:
        """Store `scores`, unannounced; return the ids of the articles that had none before.

        An article that has a score keeps its first one: scoring twice is harmless.
        """
        ...

    async def unannounced_scores(self, limit: int) -> list[ScoredArticle]:
        """Return articles whose score is not marked announced, first scored first."""
        ...

    async def mark_scores_announced(self, article_ids: Sequence[str]) -> None:
        """Remember that the scores of these were published on the event bus."""
        ...

    async def unscored(self, limit: int) -> list[Article]:
        """Return articles without a score, oldest first."""
        ...

    async def trend(
        self, symbol: str | None, start: datetime, end: datetime, bucket: timedelta
    ) -> list[TrendPoint]:
        """Return one point a bucket in `[start, end)`, empty ones included, oldest first.

        `symbol` None means every article.
        """
        ...

    async def known_sentiment(
        self, symbol: str, until: datetime, since: datetime | None = None
    ) -> list[KnownSentiment]:
        """Return the scores that were known at or before `until`, by `known_at`.

        With `since`, only those that became known after it.

        A score's `known_at` is the latest of published, first seen and scored.
        """
        ...
