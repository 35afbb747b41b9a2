"""Which versions forecast as shadows, and whether a new champion has to go back."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from finsight.actors.shadow_forecasts import ShadowForecasts
from finsight.domain.promotion import CHALLENGER, PromotionDecision
from finsight.domain.timeframe import Timeframe
from finsight.ports.clock import Clock
from finsight.ports.forecasts import ForecastStore
from finsight.ports.models import ModelReference, ModelRegistry
from finsight.services.live_watch import LOOKS, LiveRecord, compare_live, first_origin
from finsight.services.predecessor import predecessor, promotion_of
from finsight.services.promotion import roll_back
from finsight.settings import Settings

BY = "live watch"
_JUDGED_EVERY_S = 30.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Watched:
    """A champion that was promoted, and who served before it."""

    champion: ModelReference
    before: ModelReference
    decision: PromotionDecision


class ChampionWatch:
    """Has a new champion's predecessor forecast on as its shadow, and compares the two.

    Where the champion's record is clearly worse, the predecessor serves again. That one is
    not watched, and nothing here ever brings a version back that was sent away. A champion
    whose alias was moved without a decision has no known predecessor and isn't watched.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        registry: ModelRegistry,
        forecasts: ForecastStore,
        shadows: ShadowForecasts,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._registry = registry
        self._forecasts = forecasts
        self._shadows = shadows
        self._watched: dict[Timeframe, _Watched | None] = {}
        self._looked_at: dict[Timeframe, str] = {}
        self._records: dict[Timeframe, LiveRecord] = {}
        self._judge_after: dict[Timeframe, float] = {}

    def said(self) -> list[str]:
        """What is being watched, in words."""
        horizon, every = self._settings.forecasting.horizon, self._settings.models.watch_horizons
        return [
            f"{watched.champion.kind}: version {watched.champion.version} is watched beside "
            f"version {watched.before.version}, "
            f"{self._records.get(timeframe, LiveRecord()).origins} of {LOOKS * every * horizon} "
            "origins"
            for timeframe, watched in self._watched.items()
            if watched is not None
        ]

    async def look(self, timeframe: Timeframe, champion: ModelReference | None) -> None:
        """Name the shadows of `timeframe`; judge its champion now and then.

        Raises: StoreUnavailable.
        """
        if champion is None:
            self._shadows.follow(timeframe, ())
            return
        if self._looked_at.get(timeframe) != champion.version:
            self._watched[timeframe] = await asyncio.to_thread(self._find, champion)
            self._records.pop(timeframe, None)
            self._looked_at[timeframe] = champion.version
        await self._name_shadows(timeframe, champion)
        watched = self._watched[timeframe]
        if watched is not None and time.monotonic() >= self._judge_after.get(timeframe, 0.0):
            self._judge_after[timeframe] = time.monotonic() + _JUDGED_EVERY_S
            await self._judge(timeframe, watched)

    async def _name_shadows(self, timeframe: Timeframe, champion: ModelReference) -> None:
        shadows: dict[str, ModelReference] = {}
        if self._settings.models.shadow:
            challenger = await asyncio.to_thread(self._registry.holder, champion.kind, CHALLENGER)
            if challenger is not None:
                shadows[challenger.version] = challenger
        if (watched := self._watched[timeframe]) is not None:
            shadows[watched.before.version] = watched.before
        shadows.pop(champion.version, None)
        self._shadows.follow(timeframe, list(shadows.values()))

    def _find(self, champion: ModelReference) -> _Watched | None:
        """Who served before `champion`, where it was promoted."""
        if not self._settings.models.roll_back:
            return None
        decision = promotion_of(self._registry, champion)
        before = predecessor(self._registry, champion)
        return _Watched(champion, before, decision) if decision and before else None

    async def _judge(self, timeframe: Timeframe, watched: _Watched) -> None:
        since = first_origin(watched.decision.decided_at, timeframe)
        record = compare_live(
            await self._forecasts.errors(None, since),
            name_of(watched.champion),
            name_of(watched.before),
            since,
            timeframe,
            self._settings.forecasting.horizon,
            self._settings.models.watch_horizons,
        )
        self._records[timeframe] = record
        if record.clearly_worse:
            await asyncio.to_thread(self._send_back, watched, record)
        if record.clearly_worse or record.over:
            self._watched[timeframe] = None

    def _send_back(self, watched: _Watched, record: LiveRecord) -> None:
        champion = self._registry.champion(watched.champion.kind)
        if champion is None or champion.version != watched.champion.version:
            return  # Somebody decided meanwhile.
        reason = (
            f"over {record.looked_at} origins since it serves, version {champion.version} was "
            f"off by a MASE of {record.mase:.3f}, version {watched.before.version} by "
            f"{record.mase_before:.3f} on the same candles (naive {record.naive_mase:.3f})"
        )
        decision = roll_back(
            self._registry,
            self._clock,
            champion.kind,
            by=BY,
            reason=reason,
            evidence=record.evidence(),
        )
        _log.warning("%s: version %s serves again: %s", champion.kind, decision.version, reason)


def name_of(version: ModelReference) -> tuple[str, str]:
    """How its forecasts name it: naive has a version 1 too."""
    return version.tags.get("model", ""), version.version
