"""Keeps one series up to date: first what is missing, then every candle as it closes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from finsight.domain.collector import CollectedSeries
from finsight.domain.errors import FinSightError
from finsight.domain.health import PartHealth, PartState
from finsight.ports.clock import Clock
from finsight.services.candle_collection import (
    CandleCollection,
    Collected,
    CollectionProgress,
)

log = logging.getLogger(__name__)

_ASK_AFTER_S = (0.5, 2.0)
"""How long after a close the venue is asked: drawn anew each time, so that series spread out."""

_ASK_AGAIN_S = (1.0, 15.0)
"""The first and the longest pause before a late venue is asked again."""

_LOOK_BACK = 50
"""How many candles without trades are asked for again, in case the venue was only late."""

_LATE_AFTER = timedelta(seconds=60)
_QUIET_TIMEFRAMES = 20
_LONGEST_SLEEP_S = 30.0


class SeriesFollower:
    """Follows one series; `run` it, and ask its `health`.

    The cursor is what the store covers, so a follower that was killed goes on from
    there. What may work later is retried for ever; what the venue will go on refusing
    ends `run`, and `health` says why.
    """

    def __init__(
        self,
        wanted: CollectedSeries,
        collection: CandleCollection,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._wanted = wanted
        self._series = wanted.series
        self._collection = collection
        self._clock = clock
        self._sleep = sleep
        self._newest: datetime | None = None
        self._covered_until = wanted.since
        self._started = False
        self._caught_up = False
        self._doing = "asks the venue for the first time"
        self._trouble: str | None = None
        self._refusal: str | None = None
        self._notes: tuple[str, ...] = ()

    async def run(self) -> None:
        """Follow the series until it is refused for good, or until cancelled."""
        try:
            await self._catch_up()
            while True:
                await self._next_candle()
        except FinSightError as exc:
            self._refusal = str(exc)
            log.error("%s is not collected any more: %s", self._series, exc)

    def health(self) -> PartHealth:
        """Judge by the age of the newest candle, not by connections."""
        now, timeframe = self._clock.now(), self._series.timeframe
        closed_at = timeframe.next(self._newest) if self._newest is not None else None
        age = max(now - closed_at, timedelta(0)) if closed_at is not None else None
        state, detail = PartState.OK, "; ".join(self._notes)
        # The newest candle may be one timeframe old, and venues are a little late.
        limit = timeframe.duration + min(timeframe.duration, _LATE_AFTER)
        if self._refusal is not None:
            state, detail = PartState.FAILED, self._refusal
        elif not self._started:
            state, detail = PartState.STARTING, self._trouble or self._doing
        elif not self._caught_up:
            state, detail = PartState.LATE, self._trouble or self._doing
        elif now - self._covered_until > limit:
            state = PartState.LATE
            detail = self._trouble or f"no answer covers the time after {self._covered_until}"
        elif age is not None and age > _QUIET_TIMEFRAMES * timeframe.duration:
            state, detail = PartState.LATE, "the venue answers, but shows no new candle"
        elif age is not None and age > limit:
            detail = "nobody traded lately"
        return PartHealth(
            part=self._wanted.id,
            state=state,
            detail=detail,
            newest_at=closed_at,
            age_s=age.total_seconds() if age is not None else None,
        )

    async def _catch_up(self) -> None:
        store, retry = self._collection.store, self._collection.storing.call
        held = await retry(lambda: store.summary(self._series), self._note_trouble)
        self._newest = held.last
        now = self._clock.now()
        collected = await self._collection.backfill(
            self._series, self._wanted.since, now, self._note_progress, self._note_trouble
        )
        self._take(collected)
        covered = await retry(lambda: store.coverage(self._series), self._note_trouble)
        if covered:
            self._covered_until = max(self._covered_until, covered[-1].end)
        self._started = self._caught_up = True

    async def _next_candle(self) -> None:
        timeframe = self._series.timeframe
        closes_at = timeframe.next(timeframe.ceil(self._covered_until))
        await self._sleep_until(closes_at + timedelta(seconds=random.uniform(*_ASK_AFTER_S)))
        pause_s, longest_s = _ASK_AGAIN_S
        while True:
            self._take(
                await self._collection.collect_range(
                    self._series,
                    self._ask_from(),
                    timeframe.floor(self._clock.now()),
                    self._note_trouble,
                )
            )
            if self._covered_until >= closes_at:
                return
            await self._sleep(pause_s * random.uniform(0.8, 1.2))
            pause_s = min(2 * pause_s, longest_s)

    def _ask_from(self) -> datetime:
        if self._newest is None:
            return self._covered_until
        after_newest = self._series.timeframe.next(self._newest)
        quiet = self._covered_until - after_newest
        is_near = quiet <= _LOOK_BACK * self._series.timeframe.duration
        return min(after_newest, self._covered_until) if is_near else self._covered_until

    def _take(self, collected: Collected) -> None:
        self._started, self._trouble = True, None
        self._notes = collected.notes
        if collected.covered:
            self._covered_until = max(self._covered_until, collected.covered[-1].end)
        if collected.newest is not None:
            self._newest = max(self._newest or collected.newest, collected.newest)

    def _note_progress(self, progress: CollectionProgress) -> None:
        self._started, self._trouble = True, None
        self._doing = (
            f"fetches the past: {progress.done:.0%} done, {progress.candles:,} candles, "
            f"{progress.candles_per_s:,.0f} a second"
        )

    def _note_trouble(self, error: FinSightError) -> None:
        self._trouble = f"{error}; tried again by itself"
        log.warning("%s: %s", self._series, error)

    async def _sleep_until(self, moment: datetime) -> None:
        # In parts: the platform's clock may be set while we sleep.
        while (left_s := (moment - self._clock.now()).total_seconds()) > 0:
            await self._sleep(min(left_s, _LONGEST_SLEEP_S))
