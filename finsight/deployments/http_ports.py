"""What the routes reach: stores, bus, models and actors, opened once a replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, Protocol, TypeVar

from fastapi import Depends, Request

from finsight.deployments.http_errors import TooBusy
from finsight.domain.backfill import Backfill
from finsight.domain.candle import Series
from finsight.domain.collector import Collector
from finsight.domain.health import PartHealth
from finsight.domain.timeframe import Timeframe
from finsight.ports.clock import Clock
from finsight.ports.events import EventBus
from finsight.ports.forecasts import ForecastStore
from finsight.ports.market import CandleStore
from finsight.ports.models import ForecastService, ModelRegistry, PromotionService, SentimentService
from finsight.ports.news import ArticleStore
from finsight.services.drift_watch import DriftWatch
from finsight.services.retraining import Retraining
from finsight.services.training_jobs import TrainingJobs
from finsight.settings import Settings

T = TypeVar("T")


class PlatformParts(Protocol):
    """The running parts of the platform, wherever they run.

    All methods raise `NotFound` where nothing collects from an exchange, and
    `SourceUnavailable` while the part they need is restarting.
    """

    async def health(self) -> list[PartHealth]: ...

    async def served(self) -> list[PartHealth]:
        """Return how the models' deployments are doing."""
        ...

    async def collectors(self) -> list[Collector]: ...

    async def set_collector(self, collector: Collector) -> Collector: ...

    async def remove_collector(self, collector_id: str) -> None: ...

    async def symbols(self, exchange: str) -> list[str]: ...

    async def timeframes(self, exchange: str) -> list[Timeframe]: ...

    async def backfill(
        self, series: Series, start: datetime, end: datetime, gaps_only: bool
    ) -> str: ...

    async def backfills(self) -> list[Backfill]: ...

    async def cancel_backfill(self, backfill: Backfill) -> Backfill: ...


class Late(Generic[T]):
    """Something opened when it is first needed.

    The embedded event server may start after the gateway does, and the gateway
    stays up without it; the model registry takes seconds to load.
    """

    def __init__(self, open_it: Callable[[], T]) -> None:
        self._open_it = open_it
        self._opened: T | None = None

    def get(self) -> T:
        """Return it, opened now or before. Raises: StoreUnavailable."""
        if self._opened is None:
            self._opened = self._open_it()
        return self._opened

    @property
    def opened(self) -> T | None:
        """What is open, or None when nothing was needed yet."""
        return self._opened


class OpenStreams:
    """How many live streams this replica serves, and how many it may.

    A stream holds a request slot for as long as its client listens, so streams have
    a limit of their own, well below the replica's.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.open = 0

    def take(self) -> None:
        """Raises: TooBusy."""
        if self.open >= self.most:
            raise TooBusy(f"{self.most} streams are open already; try again later")
        self.open += 1

    def give_back(self) -> None:
        self.open -= 1


@dataclass(frozen=True)
class HttpPorts:
    """Everything a route may use."""

    settings: Settings
    clock: Clock
    candles: CandleStore
    articles: ArticleStore
    forecasts: ForecastStore
    registry: Late[ModelRegistry]
    bus: Late[EventBus]
    sentiment: SentimentService
    forecaster: ForecastService
    platform: PlatformParts
    promotion: PromotionService
    streams: OpenStreams
    jobs: TrainingJobs
    drift: Late[DriftWatch]
    retraining: Retraining


async def _ports_of(request: Request) -> HttpPorts:
    ports = request.app.state.ports
    assert isinstance(ports, HttpPorts)
    return ports


Ports = Annotated[HttpPorts, Depends(_ports_of)]
