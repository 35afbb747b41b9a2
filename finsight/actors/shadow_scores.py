"""What the challenger makes of the articles that were scored: kept beside, never given out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from ray.util.metrics import Counter

from finsight import wiring
from finsight.actors.shadow_models import ShadowProcess
from finsight.domain.errors import FinSightError
from finsight.domain.promotion import CHALLENGER
from finsight.domain.sentiment import ArticleScore
from finsight.ports.models import ModelReference
from finsight.settings import Settings

KIND = "sentiment"
MOST_WAITING = 64
_LOOK_S = 10.0
_log = logging.getLogger(__name__)


class ShadowScores:
    """Lets the challenger score articles after the champion did, a batch after the other.

    An offer returns at once: it waits in a queue, and where that is full it is dropped
    and counted. Without a challenger, or with `models.shadow` off, it is forgotten.
    """

    def __init__(self, settings: Settings) -> None:
        self._wanted = settings.models.shadow
        self._registry = wiring.open_model_registry(settings)
        self._articles = wiring.open_article_store(settings)
        self._clock = wiring.open_clock(settings)
        self._process = ShadowProcess(settings)
        self._queue: asyncio.Queue[tuple[str, ...]] = asyncio.Queue(MOST_WAITING)
        self._task: asyncio.Task[None] | None = None
        self._challenger: ModelReference | None = None
        self._look_after = 0.0
        self._said: set[str] = set()
        self._outcomes = Counter(
            "finsight_shadow_scores",
            description="Batches of articles for a shadow: scored, failed, or dropped when behind.",
            tag_keys=("outcome",),
        )

    def offer(self, article_ids: Sequence[str]) -> None:
        """Tell of articles that were scored. Returns at once."""
        if not self._wanted or not article_ids:
            return
        try:
            self._queue.put_nowait(tuple(article_ids))
        except asyncio.QueueFull:
            self._count("dropped")
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while not self._queue.empty():
            article_ids = self._queue.get_nowait()
            try:
                challenger = await self._current_challenger()
                if challenger is not None:
                    await self._score(challenger, article_ids)
                    self._count("scored")
            except FinSightError as exc:
                self._count("failed")
                if str(exc) not in self._said:
                    _log.warning("a shadow did not score %d articles: %s", len(article_ids), exc)
                    self._said = {str(exc)}

    async def _current_challenger(self) -> ModelReference | None:
        if time.monotonic() >= self._look_after:
            self._challenger = await asyncio.to_thread(self._registry.holder, KIND, CHALLENGER)
            self._look_after = time.monotonic() + _LOOK_S
            if self._challenger is None:
                self._process.end()
        return self._challenger

    async def _score(self, challenger: ModelReference, article_ids: Sequence[str]) -> None:
        articles = [(await self._articles.get(one)).article for one in article_ids]
        made = await self._process.score(challenger, [article.text for article in articles])
        now = self._clock.now()
        await self._articles.save_shadow_scores(
            [
                ArticleScore(article_id=article.id, sentiment=sentiment, scored_at=now)
                for article, sentiment in zip(articles, made, strict=True)
            ]
        )

    def _count(self, outcome: str) -> None:
        self._outcomes.inc(1, {"outcome": outcome})
