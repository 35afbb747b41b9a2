"""Score articles: once each, however often they are announced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from finsight.domain.article import Article
from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.events import SentimentScored
from finsight.domain.sentiment import ArticleScore, SentimentScore
from finsight.ports.clock import Clock
from finsight.ports.events import EventBus
from finsight.ports.models import SentimentService
from finsight.ports.news import ArticleStore, ScoredArticle

BATCH = 32
_ANNOUNCED_AT_ONCE = 32
"""Small, because a crash between publishing and marking publishes this many twice."""


@dataclass
class Scoring:
    """What came of a call: ids scored for the first time, and why others never will be."""

    scored: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class SentimentScoring:
    """Scores articles through a shared model, stores the scores and announces them.

    The store is the outbox: a score is stored, then published, then marked. What a
    crash leaves stored and not marked, `announce_pending` publishes.

    All methods raise `StoreUnavailable` and `ModelUnavailable`: what was stored stays,
    and the same call may be made again.
    """

    def __init__(
        self, articles: ArticleStore, model: SentimentService, bus: EventBus, clock: Clock
    ) -> None:
        self._articles = articles
        self._model = model
        self._bus = bus
        self._clock = clock

    async def score(self, article_ids: Sequence[str]) -> Scoring:
        """Score those of `article_ids` that have no score, and announce these scores."""
        done = Scoring()
        unscored: list[Article] = []
        for article_id in dict.fromkeys(article_ids):
            try:
                found = await self._articles.get(article_id)
            except NotFound as exc:
                done.refused[article_id] = str(exc)
                continue
            if found.score is None:
                unscored.append(found.article)
        await self._score_in_batches(unscored, done)
        return done

    async def sweep_unscored(self, limit: int) -> Scoring:
        """Score up to `limit` stored articles without a score: their announcement was lost."""
        done = Scoring()
        await self._score_in_batches(await self._articles.unscored(limit), done)
        return done

    async def announce_pending(self) -> int:
        """Announce the scores that are stored but not marked announced; return how many.

        Where several workers share the store, one may announce what another is about to.
        """
        announced = 0
        while pending := await self._articles.unannounced_scores(_ANNOUNCED_AT_ONCE):
            await self._announce(pending)
            announced += len(pending)
        return announced

    async def _score_in_batches(self, articles: Sequence[Article], done: Scoring) -> None:
        for start in range(0, len(articles), BATCH):
            batch = articles[start : start + BATCH]
            made = await self._sentiments(batch, done)
            scores = [
                ArticleScore(
                    article_id=article.id, sentiment=sentiment, scored_at=self._clock.now()
                )
                for article, sentiment in made
            ]
            saved = set(await self._articles.save_scores(scores))
            done.scored.extend(score.article_id for score in scores if score.article_id in saved)
            await self._announce(
                [
                    ScoredArticle(article, score)
                    for (article, _), score in zip(made, scores, strict=True)
                    if article.id in saved
                ]
            )

    async def _sentiments(
        self, articles: Sequence[Article], done: Scoring
    ) -> list[tuple[Article, SentimentScore]]:
        """Score `articles`; where the model refuses a text, the others are still scored."""
        try:
            scores = await self._model.score([article.text for article in articles])
        except InvalidInput as exc:
            if len(articles) == 1:
                done.refused[articles[0].id] = str(exc)
                return []
            return [pair for one in articles for pair in await self._sentiments([one], done)]
        return list(zip(articles, scores, strict=True))

    async def _announce(self, scored: Sequence[ScoredArticle]) -> None:
        events = [
            SentimentScored(
                happened_at=one.score.scored_at,
                article_id=one.article.id,
                symbols=one.article.symbols,
                label=one.score.sentiment.label,
                score=one.score.sentiment.score,
            )
            for one in scored
            if one.score is not None
        ]
        if events:
            await self._bus.publish(events)
            await self._articles.mark_scores_announced([event.article_id for event in events])
