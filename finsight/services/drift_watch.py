"""How far today's candles, articles and errors are from what the champions learnt from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from finsight.domain.candle import Series
from finsight.domain.drift import (
    DriftReport,
    ErrorDrift,
    FeatureDrift,
    candle_features,
    error_drift,
    feature_drift,
)
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe
from finsight.ports.clock import Clock
from finsight.ports.forecasts import ForecastStore
from finsight.ports.market import CandleStore
from finsight.ports.models import ModelReference, ModelRegistry
from finsight.ports.news import ArticleQuery, ArticleStore, ScoredArticle

SENTIMENT = "sentiment"
REFERENCE_CANDLES = 20_000
"""Of what was learnt from, so many of the newest are compared with."""
_REFERENCE_ARTICLES = 5_000
_PAGE = 200


@dataclass(frozen=True)
class Windows:
    """What counts as the newest."""

    candles: int
    articles: timedelta


class DriftWatch:
    """Measures drift from what is stored, without any state of its own."""

    def __init__(
        self,
        candles: CandleStore,
        articles: ArticleStore,
        forecasts: ForecastStore,
        registry: ModelRegistry,
        clock: Clock,
        windows: Windows,
    ) -> None:
        self._candles = candles
        self._articles = articles
        self._forecasts = forecasts
        self._registry = registry
        self._clock = clock
        self._windows = windows

    async def reports(self) -> list[DriftReport]:
        """Return one report for each champion, by name; none while nothing was learnt.

        Raises: StoreUnavailable.
        """
        by_timeframe: dict[Timeframe, list[Series]] = {}
        for series in await self._candles.list_series():
            by_timeframe.setdefault(series.timeframe, []).append(series)
        reports = []
        for timeframe, stored in sorted(by_timeframe.items()):
            champion = await self._champion(f"forecaster-{timeframe}")
            if champion is not None:
                reports.append(await self._of_forecaster(champion, timeframe, stored))
        champion = await self._champion(SENTIMENT)
        reports.append(await self._of_sentiment(champion))
        return reports

    async def _champion(self, kind: str) -> ModelReference | None:
        return await asyncio.to_thread(self._registry.champion, kind)

    async def _of_forecaster(
        self, champion: ModelReference, timeframe: Timeframe, stored: Sequence[Series]
    ) -> DriftReport:
        notes: list[str] = []
        until = _moment(champion.tags.get("trained_until"))
        taught = set(champion.tags.get("trained_on", "").split(","))
        features: list[FeatureDrift] = []
        known = [series for series in stored if series.key in taught]
        if until is None or not known:
            notes.append("the model does not say which candles it learnt from")
        else:
            for series in known:
                features += await self._of_series(series, until, notes)
        errors = await self._of_errors(champion, known, notes)
        return DriftReport(
            model=champion.kind,
            version=champion.version,
            measured_at=self._clock.now(),
            features=tuple(features),
            errors=errors,
            notes=tuple(notes),
        )

    async def _of_series(
        self, series: Series, until: datetime, notes: list[str]
    ) -> list[FeatureDrift]:
        timeframe, window = series.timeframe, self._windows.candles
        newest_from = timeframe.floor(self._clock.now()) - window * timeframe.duration
        # Where the model learnt from part of the newest, that part is held against the rest.
        known_until = min(timeframe.next(until), newest_from)
        known_from = known_until - REFERENCE_CANDLES * timeframe.duration
        known = await self._candles.read(series, known_from, known_until)
        newest = await self._candles.read(series, newest_from, timeframe.floor(self._clock.now()))

        def compare() -> list[FeatureDrift]:
            before, lately = candle_features(known, timeframe), candle_features(newest, timeframe)
            found = []
            for name in before.keys() & lately.keys():
                found.append(feature_drift(name, before[name], lately[name], series.key))
            return sorted(found, key=lambda drift: drift.feature)

        try:
            return await asyncio.to_thread(compare)
        except InvalidInput as exc:
            notes.append(f"{series}: {exc}")
            return []

    async def _of_errors(
        self, champion: ModelReference, known: Sequence[Series], notes: list[str]
    ) -> ErrorDrift | None:
        name = (champion.tags.get("model", ""), champion.version)
        by_origin: dict[datetime, list[float]] = {}
        horizon = 1
        for series in known:
            for error in await self._forecasts.errors(series, None):
                if (error.model, error.model_version) != name:
                    continue
                if error.mase is not None and error.naive_mase is not None:
                    loss = error.mase - error.naive_mase
                    by_origin.setdefault(error.origin, []).append(loss)
                    horizon = max(horizon, error.horizon)
        losses = [float(np.mean(by_origin[origin])) for origin in sorted(by_origin)]
        try:
            # The newest fifth, but no more than the window.
            newest = min(max(len(losses) // 5, 1), self._windows.candles)
            return await asyncio.to_thread(error_drift, losses, newest, horizon)
        except InvalidInput as exc:
            notes.append(f"errors: {exc}")
            return None

    async def _of_sentiment(self, champion: ModelReference | None) -> DriftReport:
        notes: list[str] = []
        newest_from = self._clock.now() - self._windows.articles
        newest = await self._read(newest_from, None)
        before = await self._read(None, newest_from)
        features = []
        for name, of in (("text_length", _length), ("sentiment_score", _score)):
            known = [value for one in reversed(before) if (value := of(one)) is not None]
            lately = [value for one in reversed(newest) if (value := of(one)) is not None]
            try:
                features.append(feature_drift(name, np.array(known), np.array(lately)))
            except InvalidInput as exc:
                notes.append(f"{name}: {exc}")
        notes.append("the texts it learnt from are not kept: held against are earlier articles")
        return DriftReport(
            model=SENTIMENT,
            version=champion.version if champion else "not in the registry",
            measured_at=self._clock.now(),
            features=tuple(features),
            notes=tuple(notes),
        )

    async def _read(self, after: datetime | None, before: datetime | None) -> list[ScoredArticle]:
        """Return articles of a span, newest first, no more than are worth comparing."""
        found: list[ScoredArticle] = []
        cursor: str | None = None
        while len(found) < _REFERENCE_ARTICLES:
            page = await self._articles.search(
                ArticleQuery(after=after, before=before, limit=_PAGE, cursor=cursor)
            )
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        return found


def _length(one: ScoredArticle) -> float:
    return float(len(one.article.text))


def _score(one: ScoredArticle) -> float | None:
    return None if one.score is None else one.score.sentiment.score


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
