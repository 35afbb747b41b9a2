"""The HTTP application over real stores, with small stand-ins for what needs Ray."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
from fastapi import FastAPI

from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.deployments.http_app import build_http_app
from finsight.deployments.http_ports import HttpPorts, Late, OpenStreams
from finsight.deployments.open_training import open_training
from finsight.domain.backfill import Backfill, BackfillState
from finsight.domain.candle import Series
from finsight.domain.collector import CollectedSeries, Collector, NewsFeed
from finsight.domain.errors import NotFound
from finsight.domain.forecast import Basis
from finsight.domain.health import PartHealth, PartState
from finsight.domain.sentiment import SentimentScore
from finsight.domain.timeframe import Timeframe
from finsight.ports.events import EventBus
from finsight.ports.models import ForecastInput, ServedForecast
from finsight.services.promotion import Promotion
from finsight.settings import Settings
from finsight.wiring import (
    open_article_store,
    open_candle_store,
    open_event_bus,
    open_forecast_store,
    open_model_readers,
    open_model_registry,
)

NOW = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)


@dataclass
class StoppedClock:
    """A clock that a test moves."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


class WordSentiment:
    """Scores "surges" as positive and "slides" as negative, as the served model does."""

    async def score(self, texts: Sequence[str]) -> list[SentimentScore]:
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> SentimentScore:
        positive = 0.8 if "surges" in text else 0.1
        negative = 0.8 if "slides" in text else 0.1
        return SentimentScore(
            negative=negative,
            neutral=1 - positive - negative,
            positive=positive,
            model="words",
            model_version="1",
        )


class NaiveService:
    """The naive forecaster, as the deployment serves it when there is nothing better."""

    async def forecast(self, request: ForecastInput) -> ServedForecast:
        naive = NaiveForecaster()
        [quantiles] = naive.forecast([request])
        return ServedForecast(
            quantiles, quantiles, naive.name, naive.version, Basis.NAIVE, "no model is trained yet"
        )


@dataclass
class StandInParts:
    """The supervisor's and the collectors' answers, without the actors."""

    kept: dict[str, Collector] = field(default_factory=dict)
    parts: list[PartHealth] = field(default_factory=list)
    asked: list[Backfill] = field(default_factory=list)

    async def health(self) -> list[PartHealth]:
        return self.parts

    async def served(self) -> list[PartHealth]:
        return [PartHealth(part="deployment:Sentiment", state=PartState.OK)]

    async def collectors(self) -> list[Collector]:
        return list(self.kept.values())

    async def set_collector(self, collector: Collector) -> Collector:
        self.kept[collector.id] = collector
        return collector

    async def remove_collector(self, collector_id: str) -> None:
        del self.kept[collector_id]

    async def symbols(self, exchange: str) -> list[str]:
        if exchange != "binance":
            raise NotFound(f"nothing is collected from {exchange}")
        return ["BTC/USDT", "ETH/USDT"]

    async def timeframes(self, exchange: str) -> list[Timeframe]:
        return [Timeframe.M1, Timeframe.H1]

    async def backfill(
        self, series: Series, start: datetime, end: datetime, gaps_only: bool
    ) -> str:
        created_at = NOW + timedelta(seconds=len(self.asked))
        self.asked.append(
            Backfill(
                id=f"backfill-{len(self.asked)}",
                series=series,
                start=start,
                end=end,
                gaps_only=gaps_only,
                created_at=created_at,
                updated_at=created_at,
            )
        )
        return self.asked[-1].id

    async def backfills(self) -> list[Backfill]:
        return list(self.asked)

    async def cancel_backfill(self, backfill: Backfill) -> Backfill:
        cancelled = backfill.moved(BackfillState.CANCELLED, NOW)
        self.asked[self.asked.index(backfill)] = cancelled
        return cancelled


@dataclass(frozen=True)
class HttpPlatform:
    """A running application, and what it runs on."""

    app: FastAPI
    client: httpx.AsyncClient
    ports: HttpPorts
    clock: StoppedClock
    parts: StandInParts


def a_collector(symbol: str = "BTC/USDT") -> Collector:
    return Collector(
        candles=CollectedSeries(exchange="binance", symbol=symbol, timeframe=Timeframe.H1)
    )


def a_feed() -> Collector:
    return Collector(news=NewsFeed(name="coindesk"))


@asynccontextmanager
async def running(
    settings: Settings, sentiment: object | None = None, bus: EventBus | None = None
) -> AsyncIterator[HttpPlatform]:
    """The application over the stores of `settings`, asked without a network."""
    clock, parts = StoppedClock(), StandInParts()
    training = open_training(settings, clock)
    ports = HttpPorts(
        settings=settings,
        clock=clock,
        candles=open_candle_store(settings),
        articles=open_article_store(settings),
        forecasts=open_forecast_store(settings),
        registry=Late(lambda: open_model_registry(settings)),
        bus=Late(lambda: bus or open_event_bus(settings)),
        sentiment=sentiment or WordSentiment(),  # type: ignore[arg-type]
        forecaster=NaiveService(),
        platform=parts,
        promotion=Promotion(
            open_model_registry(settings),
            open_candle_store(settings),
            open_article_store(settings),
            clock,
            open_model_readers(settings),
            settings.forecasting.input_candles,
        ),
        streams=OpenStreams(most=2),
        jobs=training.jobs,
        drift=training.drift,
        retraining=training.retraining,
    )
    app = build_http_app(ports)
    # The server logs what it answered 500 to; a client sees the answer, and so do tests.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://platform") as client,
    ):
        yield HttpPlatform(app, client, ports, clock, parts)
