"""Starts and mends the actors that the settings name, and says how they are."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from finsight import wiring
from finsight.actors.embedded_valkey import EMBEDDED_VALKEY
from finsight.actors.kept_actor import KeptActor, names_there
from finsight.domain.collector import CollectedSeries, Collector
from finsight.domain.errors import InvalidInput, StoreUnavailable
from finsight.domain.health import PartHealth, PartState
from finsight.ports.state import StateStore
from finsight.services.collector_settings import CollectorSettings
from finsight.settings import Settings

_TICK_S = 2.0
_FIRST_TICKS_S = 0.25
_FIRST_TICKS_FOR_S = 30.0
"""At the start each part waits for the one before it, and so often for nothing."""
_STATE_WITHIN_S = 5.0

_VALKEY = "embedded_valkey:EmbeddedValkey"
_CANDLES = "candle_collector:CandleCollector"
_NEWS = "news_collector:NewsCollector"
_SENTIMENT = "sentiment_worker:SentimentWorker"
_FORECASTS = "forecast_worker:ForecastWorker"
_RETRAINING = "retraining_watch:RetrainingWatch"


class Supervisor:
    """Keeps every other actor running, and the collectors as they were decided.

    Each actor is tended in a task of its own, so that one that hangs stalls no
    other. Nothing but the event server is started before the state store has
    answered once: until then nobody knows what was stopped or removed at run time.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state: StateStore | None = None
        self._state_address = ""
        self._state_problem: str | None = "the event server is starting"
        self._collectors: list[Collector] | None = None
        self._actors: dict[str, KeptActor] = {}
        self._tending: dict[str, asyncio.Task[None]] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._ended = False

    async def ensure_running(self) -> None:
        """Start the background work if there is none; harmless at any time before `stop`."""
        if self._ended:
            return
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick_for_ever())

    async def settings(self) -> Settings:
        """What it was started with."""
        return self._settings

    async def health(self) -> list[PartHealth]:
        """Return every part of every actor, stopped collectors included."""
        parts = [part for actor in self._actors.values() for part in actor.health]
        if self._settings.redis_url is not None:
            parts.insert(0, self._redis_health())
        said = {part.part for part in parts}
        for collector in self._collectors or ():
            if collector.id not in said:
                state = PartState.STARTING if collector.running else PartState.STOPPED
                parts.append(PartHealth(part=collector.id, state=state))
        if self._collectors is None:
            detail = f"what to collect is not known yet: {self._state_problem}"
            parts.append(PartHealth(part="collectors", state=PartState.STARTING, detail=detail))
        return parts

    async def collectors(self) -> list[Collector]:
        """Return what is collected, stopped ones included. Raises: StoreUnavailable."""
        return await self._collector_settings().all()

    async def set_collector(self, collector: Collector) -> Collector:
        """Add, change, start or stop one. Raises: InvalidInput, StoreUnavailable."""
        changed = await self._collector_settings().set(collector)
        await self._tick()
        return changed

    async def remove_collector(self, collector_id: str) -> None:
        """Collect it no more. Raises: NotFound, StoreUnavailable."""
        await self._collector_settings().remove(collector_id)
        await self._tick()

    async def stop(self) -> None:
        """End every actor, the event server last. The supervisor itself stays."""
        self._ended = True
        tasks = [task for task in (self._ticking, *self._tending.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # By name, for one may have been in the making.
        there = {name: KeptActor(name, _nothing) for name in await asyncio.to_thread(names_there)}
        last = there.pop(EMBEDDED_VALKEY, None)
        await asyncio.gather(*(actor.end() for actor in there.values()))
        if last is not None:
            await last.end()
        self._actors.clear()

    async def _tick_for_ever(self) -> None:
        await self._adopt()
        loop = asyncio.get_running_loop()
        in_a_hurry_until = loop.time() + _FIRST_TICKS_FOR_S
        while True:
            await self._tick()
            settled = self._actors and all(actor.is_well for actor in self._actors.values())
            hurry = not settled and loop.time() < in_a_hurry_until
            await asyncio.sleep(_FIRST_TICKS_S if hurry else _TICK_S)

    async def _adopt(self) -> None:
        """Take over collectors that were made before this process: the next tick ends
        those that are not wanted any more."""
        for name in await asyncio.to_thread(names_there):
            if name.startswith("candles:"):
                self._actors[name] = self._kept(name, _CANDLES, name.partition(":")[2])
            elif name == "news":
                self._actors[name] = self._kept(name, _NEWS)

    async def _tick(self) -> None:
        if self._settings.redis_url is None:
            self._tend(EMBEDDED_VALKEY, _VALKEY, ())
        await self._read_collectors()
        if self._collectors is None:
            return
        running = [one for one in self._collectors if one.running]
        series = _by_exchange([one.candles for one in running if one.candles is not None])
        feeds = [one.news for one in running if one.news is not None]
        for exchange, wanted in series.items():
            self._tend(f"candles:{exchange}", _CANDLES, (exchange,), wanted)
        if feeds:
            self._tend("news", _NEWS, (), feeds)
        for number in range(self._settings.sentiment.workers):
            self._tend(f"sentiment-worker:{number}", _SENTIMENT, (number,))
        self._tend("forecast-worker", _FORECASTS, ())
        self._tend("retraining-watch", _RETRAINING, ())
        for name in list(self._actors):
            if name.startswith("candles:") and name.partition(":")[2] not in series:
                self._end(name)
        if not feeds:
            self._end("news")

    def _tend(self, name: str, actor_class: str, more: Sequence[Any], *wanted: Any) -> None:
        """Tend the actor in a task of its own, unless the last such task still waits."""
        if name not in self._actors:
            self._actors[name] = self._kept(name, actor_class, *more)
        task = self._tending.get(name)
        if task is None or task.done():
            self._tending[name] = asyncio.create_task(self._actors[name].tend(*wanted))

    def _kept(self, name: str, actor_class: str, *more: Any) -> KeptActor:
        return KeptActor(name, _loader(actor_class), self._settings, *more)

    def _end(self, name: str) -> None:
        actor = self._actors.pop(name, None)
        if actor is None:
            return
        task = self._tending.get(name)
        if task is not None:
            task.cancel()
        self._tending[name] = asyncio.create_task(actor.end())

    async def _read_collectors(self) -> None:
        try:
            self._collectors = await asyncio.wait_for(
                self._collector_settings().all(), _STATE_WITHIN_S
            )
            self._state_problem = None
        except (StoreUnavailable, TimeoutError) as exc:
            # What was last known stays in force: a store that is away stops nobody.
            self._state_problem = str(exc) or "the event server does not answer"

    def _collector_settings(self) -> CollectorSettings:
        """Raises: StoreUnavailable."""
        address = wiring.redis_address(self._settings)
        if self._state is None or address != self._state_address:
            self._state = wiring.open_state_store(self._settings)
            self._state_address = address
        settings = self._settings
        clock = wiring.open_clock(settings)
        return CollectorSettings(
            self._state, settings.series, settings.feeds, clock, self._try_to_open
        )

    async def _try_to_open(self, collector: Collector) -> None:
        """Raises: FinSightError (no such venue, timeframe or source)."""
        if collector.candles is not None:
            wanted = collector.candles
            # Importing ccxt takes a second.
            await asyncio.to_thread(importlib.import_module, "ccxt.async_support")
            exchange = wiring.open_exchange(self._settings, wanted.exchange)
            offered = exchange.timeframes()
            await exchange.close()
            if wanted.timeframe not in offered:
                raise InvalidInput(
                    f"{wanted.exchange} offers no candles of {wanted.timeframe.value}; it offers "
                    + ", ".join(timeframe.value for timeframe in offered)
                )
        if collector.news is not None:
            source = wiring.open_news_source(self._settings, collector.news)
            await source.close()

    def _redis_health(self) -> PartHealth:
        if self._state_problem is None:
            return PartHealth(part="redis", state=PartState.OK)
        return PartHealth(part="redis", state=PartState.STARTING, detail=self._state_problem)


def _by_exchange(series: Sequence[CollectedSeries]) -> dict[str, list[CollectedSeries]]:
    grouped: dict[str, list[CollectedSeries]] = {}
    for one in series:
        grouped.setdefault(one.exchange, []).append(one)
    return grouped


def _nothing() -> type[Any]:
    raise AssertionError("an actor that is only to be ended is never made")


def _loader(actor_class: str) -> Callable[[], type[Any]]:
    """Import the class only when it is made: each brings a vendor of its own."""
    module, name = actor_class.split(":")

    def load() -> type[Any]:
        loaded: type[Any] = getattr(importlib.import_module(f"finsight.actors.{module}"), name)
        return loaded

    return load
