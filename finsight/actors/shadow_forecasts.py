"""What other versions would have forecast: kept and scored beside the answers, never one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ray.util.metrics import Counter

from finsight.actors.shadow_models import ShadowProcess
from finsight.domain.candle import Series
from finsight.domain.errors import FinSightError
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ForecastInput, ForecastService, ModelReference, ServedForecast
from finsight.services.forecasting import Forecasting
from finsight.settings import Settings

MOST_WAITING = 512
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Wanted:
    """A forecast that a version shall make of what the champion forecast."""

    reference: ModelReference
    series: Series
    horizon: int
    origin: datetime


class ShadowForecasts:
    """Lets the versions that `follow` names forecast what was offered, one after the other.

    An offer costs the caller nothing: it waits in a queue, and where that is full it is
    dropped and counted. The versions run in a process of their own.
    """

    def __init__(
        self, settings: Settings, forecasting: Callable[[ForecastService], Forecasting]
    ) -> None:
        """`forecasting(service)` makes and keeps forecasts that `service` answers."""
        self._forecasting = forecasting
        self._process = ShadowProcess(settings)
        self._followed: dict[Timeframe, tuple[ModelReference, ...]] = {}
        self._queue: asyncio.Queue[_Wanted] = asyncio.Queue(MOST_WAITING)
        self._task: asyncio.Task[None] | None = None
        self._said: set[tuple[str, str, str]] = set()
        self._outcomes = Counter(
            "finsight_shadow_forecasts",
            description="Forecasts of shadows: made, failed, or dropped when behind.",
            tag_keys=("outcome",),
        )

    def follow(self, timeframe: Timeframe, versions: Sequence[ModelReference]) -> None:
        """Let exactly these versions forecast the series of `timeframe` from now on."""
        self._followed[timeframe] = tuple(versions)
        if not any(self._followed.values()) and self._queue.empty():
            self._process.end()

    def offer(self, series: Series, horizon: int, origin: datetime) -> None:
        """Tell of a forecast that was made. Returns at once."""
        for reference in self._followed.get(series.timeframe, ()):
            try:
                self._queue.put_nowait(_Wanted(reference, series, horizon, origin))
            except asyncio.QueueFull:
                self._count("dropped")
        if not self._queue.empty() and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while not self._queue.empty():
            wanted = self._queue.get_nowait()
            try:
                await self._make(wanted)
            except FinSightError as exc:
                self._count("failed")
                told = (wanted.reference.kind, wanted.reference.version, type(exc).__name__)
                if told not in self._said:
                    _log.warning("a shadow did not forecast %s: %s", wanted.series, exc)
                    self._said.add(told)
            else:
                self._count("made")

    async def _make(self, wanted: _Wanted) -> None:
        service = _OneVersion(wanted.reference, self._process)
        await self._forecasting(service).forecast(wanted.series, wanted.horizon, wanted.origin)

    def _count(self, outcome: str) -> None:
        self._outcomes.inc(1, {"outcome": outcome})


class _OneVersion:
    """Implements `ports.models.ForecastService` with one version, as a shadow."""

    def __init__(self, reference: ModelReference, process: ShadowProcess) -> None:
        self._reference = reference
        self._process = process

    async def forecast(self, request: ForecastInput) -> ServedForecast:
        return await self._process.forecast(self._reference, request)
