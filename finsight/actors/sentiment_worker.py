"""Scores each article announced."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime

from finsight import wiring
from finsight.actors.served_sentiment import ServedSentiment
from finsight.actors.shadow_scores import ShadowScores
from finsight.domain.errors import FinSightError
from finsight.domain.health import PartHealth, PartState
from finsight.ports.events import Delivery, EventBus
from finsight.services.sentiment_scoring import BATCH, Scoring, SentimentScoring
from finsight.settings import Settings

GROUP = "sentiment"
_WAIT_S = 2.0
_SWEEP_EVERY_S = 60.0
_SWEEP_AT_ONCE = 512
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_log = logging.getLogger(__name__)


class SentimentWorker:
    """Consumes `ArticleCollected` for the group "sentiment" and scores the articles.

    An announcement is acknowledged once the score is stored, so a worker that dies
    leaves its announcements to the next one. While the model, the bus or the store is
    down it waits, longer each time, and goes on by itself. At the start and now and then
    it looks for what got lost: articles without a score, and scores not announced.
    """

    def __init__(self, settings: Settings, number: int) -> None:
        self._settings = settings
        self._name = f"sentiment-worker:{number}"
        self._clock = wiring.open_clock(settings)
        self._model = ServedSentiment()
        self._shadows = ShadowScores(settings)
        self._task: asyncio.Task[None] | None = None
        self._connected = False
        self._trouble: str | None = None
        self._newest_at: datetime | None = None

    async def ensure_running(self) -> list[PartHealth]:
        """Start scoring unless it goes on already; say how it is."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            _log.error("%s ended and is started again", self._name, exc_info=self._task.exception())
            self._task = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return [self._health()]

    def _health(self) -> PartHealth:
        state = PartState.OK if self._connected else PartState.STARTING
        age_s = None
        if self._newest_at is not None:
            age_s = max((self._clock.now() - self._newest_at).total_seconds(), 0.0)
        return PartHealth(
            part=self._name,
            state=state if self._trouble is None else PartState.LATE,
            detail=self._trouble or "",
            newest_at=self._newest_at,
            age_s=age_s,
        )

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            before = self._newest_at
            try:
                await self._work_until_trouble()
            except FinSightError as exc:
                self._trouble = str(exc)
                _log.warning("%s waits: %s", self._name, exc)
            pause_s = _FIRST_PAUSE_S if self._newest_at != before else pause_s
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _work_until_trouble(self) -> None:
        """Consume for ever. Raises: StoreUnavailable, ModelUnavailable."""
        bus = wiring.open_event_bus(self._settings)
        try:
            articles = wiring.open_article_store(self._settings)
            scoring = SentimentScoring(articles, self._model, bus, self._clock)
            loop = asyncio.get_running_loop()
            sweep_at = loop.time()  # What a worker that died had taken is scored at once.
            while True:
                deliveries = await bus.receive(
                    GROUP, self._name, ["ArticleCollected"], max_events=BATCH, wait_s=_WAIT_S
                )
                self._connected = True
                if deliveries:
                    await self._handle(deliveries, scoring, bus)
                if loop.time() >= sweep_at:
                    await scoring.announce_pending()
                    self._note(await scoring.sweep_unscored(_SWEEP_AT_ONCE))
                    sweep_at = loop.time() + _SWEEP_EVERY_S
                self._trouble = None
        finally:
            await bus.close()

    async def _handle(
        self, deliveries: list[Delivery], scoring: SentimentScoring, bus: EventBus
    ) -> None:
        """Score what was delivered; acknowledge what is stored, and say what can't be scored."""
        ids = {d.id: d.event.article_id for d in deliveries if d.event.kind == "ArticleCollected"}
        done = await scoring.score(list(ids.values()))
        self._note(done)
        refused = [d for d in deliveries if ids.get(d.id) in done.refused]
        await bus.acknowledge(GROUP, [d.id for d in deliveries if d not in refused])
        for delivery in refused:
            await bus.fail(GROUP, delivery, done.refused[ids[delivery.id]])

    def _note(self, done: Scoring) -> None:
        if done.scored:
            self._newest_at = self._clock.now()
            self._shadows.offer(done.scored)
