"""Comparing and promoting models in processes of their own, away from who answers requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import ray

from finsight.domain.errors import ModelUnavailable
from finsight.domain.labelled_texts import LabelledText
from finsight.domain.model_comparison import ModelComparison
from finsight.domain.promotion import PromotionDecision
from finsight.services.promotion import Promotion
from finsight.settings import Settings
from finsight.wiring import (
    open_article_store,
    open_candle_store,
    open_clock,
    open_model_readers,
    open_model_registry,
)

TIMEOUT_S = 300.0


class RemotePromotion:
    """Implements `ports.models.PromotionService` by Ray tasks, one at a time.

    A comparison loads two models and computes for up to a minute: in the gateway's own
    process every other request would wait.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()

    async def compare(
        self, kind: str, version: str, texts: Sequence[LabelledText] | None = None
    ) -> ModelComparison:
        given: dict[str, Any] = {"kind": kind, "version": version, "texts": texts}
        answer: ModelComparison = await self._done(_compare, given)
        return answer

    async def promote(
        self,
        kind: str,
        version: str,
        *,
        by: str,
        reason: str = "",
        force: bool = False,
        texts: Sequence[LabelledText] | None = None,
    ) -> PromotionDecision:
        given: dict[str, Any] = {"kind": kind, "version": version, "texts": texts}
        given |= {"by": by, "reason": reason, "force": force}
        answer: PromotionDecision = await self._done(_promote, given)
        return answer

    async def _done(self, task: Any, given: dict[str, Any]) -> Any:
        async with self._turn:
            reference = task.remote(self._settings, given)
            try:
                return await asyncio.wait_for(reference, TIMEOUT_S)
            except TimeoutError as exc:
                ray.cancel(reference, force=True)
                raise ModelUnavailable(
                    f"the comparison was not done within {TIMEOUT_S:.0f} s; try again, or run "
                    "finsight models promote on the machine that holds the candles"
                ) from exc


# One call a process: what two models took is given back with it. No CPU is asked for, so
# that it also starts where every one is promised to somebody.
@ray.remote(num_cpus=0, max_retries=0, max_calls=1)
def _compare(settings: Settings, given: dict[str, Any]) -> ModelComparison:
    return asyncio.run(_promotion(settings).compare(**given))


@ray.remote(num_cpus=0, max_retries=0, max_calls=1)
def _promote(settings: Settings, given: dict[str, Any]) -> PromotionDecision:
    return asyncio.run(_promotion(settings).promote(**given))


def _promotion(settings: Settings) -> Promotion:
    return Promotion(
        open_model_registry(settings),
        open_candle_store(settings),
        open_article_store(settings),
        open_clock(settings),
        open_model_readers(settings),
        settings.forecasting.input_candles,
    )
