"""Backfills that somebody asked for: kept in the state store, done one after another."""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import datetime
from functools import partial

from finsight.domain.backfill import Backfill, BackfillState
from finsight.domain.candle import Series
from finsight.domain.errors import FinSightError, NotFound, StoreUnavailable
from finsight.ports.clock import Clock
from finsight.ports.state import StateStore
from finsight.services.candle_collection import CandleCollection, Collected, CollectionProgress

log = logging.getLogger(__name__)

_PREFIX = "backfills/"
_FINISHED_KEPT = 100


class BackfillQueue:
    """The backfills of one exchange; `run` works them off, oldest first.

    A backfill is in the state store before `add` returns. One that was cut short by a
    crash is done again from what the candle store covers, so nothing is fetched twice.
    """

    def __init__(
        self, exchange: str, collection: CandleCollection, state: StateStore, clock: Clock
    ) -> None:
        self._exchange = exchange
        self._collection = collection
        self._state = state
        self._clock = clock
        self._current: Backfill | None = None
        self._fetching: asyncio.Task[Collected] | None = None
        self._cancelled: set[str] = set()
        self._added = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None

    async def add(self, series: Series, start: datetime, end: datetime, gaps_only: bool) -> str:
        """Queue a backfill of `[start, end)`; return its id. Raises: StoreUnavailable."""
        now = self._clock.now()
        backfill = Backfill(
            id=uuid.uuid4().hex[:12],
            series=series,
            start=start,
            end=end,
            gaps_only=gaps_only,
            created_at=now,
            updated_at=now,
        )
        await self._save(backfill)
        self._added.set()
        return backfill.id

    async def all(self) -> list[Backfill]:
        """Return every backfill of this exchange, oldest first. Raises: StoreUnavailable."""
        documents = await self._state.load_all(_PREFIX)
        found = [Backfill.model_validate(document) for document in documents.values()]
        current = self._current
        ours = [
            current if current is not None and backfill.id == current.id else backfill
            for backfill in found
            if backfill.series.exchange == self._exchange
        ]
        return sorted(ours, key=lambda backfill: backfill.created_at)

    async def cancel(self, backfill_id: str) -> Backfill:
        """Take it from the queue, or stop it in its middle; what it stored stays.

        One that has ended stays as it ended. Raises: NotFound, StoreUnavailable.
        """
        found = next((one for one in await self.all() if one.id == backfill_id), None)
        if found is None:
            raise NotFound(f"there is no backfill {backfill_id} of {self._exchange}")
        if found.state.is_final:
            return found
        self._cancelled.add(backfill_id)
        cancelled = found.moved(BackfillState.CANCELLED, self._clock.now())
        if self._current is not None and self._current.id == backfill_id:
            # Whoever saves its progress from here on saves it as cancelled.
            self._current = cancelled
            if self._fetching is not None:
                self._fetching.cancel()
        await self._save(cancelled)
        return cancelled

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._added.clear()
            waiting = [b for b in await self._retried_all() if not b.state.is_final]
            for backfill in waiting:
                if backfill.id not in self._cancelled:
                    await self._do(backfill)
            if not waiting:
                self._cancelled.clear()
                await self._forget_the_oldest()
                await self._added.wait()

    async def _do(self, backfill: Backfill) -> None:
        before = backfill.candles
        self._current = backfill.moved(BackfillState.RUNNING, self._clock.now())
        await self._save_for_sure(self._current)
        self._fetching = asyncio.create_task(self._collect(backfill, before))
        if self._current.state is BackfillState.CANCELLED:
            self._fetching.cancel()
        try:
            await asyncio.wait([self._fetching])
        except asyncio.CancelledError:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
            raise
        ended = self._ended(self._current, self._fetching, before)
        if self._saving is not None:
            await asyncio.wait([self._saving])
        await self._save_for_sure(ended)
        self._current = None

    def _ended(self, current: Backfill, fetching: asyncio.Task[Collected], before: int) -> Backfill:
        if current.state is BackfillState.CANCELLED:
            return current
        try:
            collected = fetching.result()
        except FinSightError as exc:
            log.error("the backfill %s of %s failed: %s", current.id, current.series, exc)
            return current.moved(BackfillState.FAILED, self._clock.now(), str(exc))
        return current.moved(BackfillState.DONE, self._clock.now()).model_copy(
            update={"candles": before + collected.candles, "notes": collected.notes}
        )

    async def _collect(self, backfill: Backfill, before: int) -> Collected:
        def on_progress(progress: CollectionProgress) -> None:
            assert self._current is not None
            changes = {
                "done": progress.done,
                "candles": before + progress.candles,
                "updated_at": self._clock.now(),
                "error": None,
            }
            self._current = self._current.model_copy(update=changes)
            if self._saving is None or self._saving.done():
                self._saving = asyncio.get_running_loop().create_task(self._save_if_possible())

        def on_trouble(error: FinSightError) -> None:
            assert self._current is not None
            self._current = self._current.model_copy(update={"error": f"waiting: {error}"})

        fetch = self._collection.fill_gaps if backfill.gaps_only else self._collection.backfill
        return await fetch(backfill.series, backfill.start, backfill.end, on_progress, on_trouble)

    async def _forget_the_oldest(self) -> None:
        finished = [b for b in await self._retried_all() if b.state.is_final]
        for backfill in finished[:-_FINISHED_KEPT]:
            await self._collection.storing.call(partial(self._state.delete, _PREFIX + backfill.id))

    async def _retried_all(self) -> list[Backfill]:
        return await self._collection.storing.call(self.all)

    async def _save(self, backfill: Backfill) -> None:
        await self._state.save(_PREFIX + backfill.id, backfill.model_dump(mode="json"))

    async def _save_for_sure(self, backfill: Backfill) -> None:
        await self._collection.storing.call(lambda: self._save(backfill))

    async def _save_if_possible(self) -> None:
        try:
            if self._current is not None:
                await self._save(self._current)
        except StoreUnavailable as exc:
            log.warning("progress of a backfill was not saved: %s", exc)
