"""Judging many origins of many series: here, or over a Ray cluster, with the same rows."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import FinSightError
from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.timeframe import EPOCH, Timeframe
from finsight.ports.models import Forecaster
from finsight.ports.news import KnownSentiment
from finsight.services.forecast_judging import judge
from finsight.settings import Settings
from finsight.wiring import calibrated, fit_forecaster, naive_forecaster

BLOCK_ORIGINS = 64


class Done(NamedTuple):
    """How far the judging is; `left_s` is None until it can be told."""

    origins: int
    of: int
    left_s: float | None


@dataclass(frozen=True)
class Refit:
    """A model that is still to be trained, on candles that have closed by `until`."""

    until: datetime


@dataclass(frozen=True)
class Block:
    """Origins of one series that one model forecasts from; `rows` are rows of its candles."""

    series: Series
    rows: np.ndarray
    model: int


@dataclass(frozen=True)
class Learning:
    """How models are trained anew: the same way each time, on the newest `most` candles."""

    settings: Settings
    timeframe: Timeframe
    recipe: ForecasterRecipe
    most: int

    def fit(
        self,
        refit: Refit,
        candles: Mapping[str, CandleTable],
        sentiment: Mapping[str, Sequence[KnownSentiment]] | None,
    ) -> Forecaster:
        """Train on what had closed by then, and calibrate. Raises: InvalidInput."""
        known = {
            key: table.between(EPOCH, self.timeframe.floor(refit.until)).tail(self.most)
            for key, table in candles.items()
        }
        known = {key: table for key, table in known.items() if len(table)}
        model = fit_forecaster(
            self.settings, self.timeframe, known, self.recipe, sentiment=sentiment
        )
        return calibrated(model)


@dataclass(frozen=True)
class Judging:
    """All that is to be judged; `versions` names each of `models` in the rows.

    `sentiment`, by series key, is there for models that see it.
    """

    candles: Mapping[str, CandleTable]
    models: tuple[Forecaster | Refit, ...]
    versions: tuple[str, ...]
    blocks: tuple[Block, ...]
    horizon: int
    learning: Learning | None = None
    sentiment: Mapping[str, Sequence[KnownSentiment]] | None = None

    @property
    def origins(self) -> int:
        """How many origins, over all series."""
        return sum(len(block.rows) for block in self.blocks)


def judged(work: Judging, progress: Callable[[Done], None] | None = None) -> pa.Table:
    """Return `forecast_judging.SCHEMA`'s rows of all blocks, in their order.

    Where this process is connected to Ray the blocks, and trainings, are its tasks; one
    whose worker dies is done again. Otherwise they are done here, one after another.

    Raises: InvalidInput (a block that can't be judged, a training that can't be done).
    """
    parts: list[pa.Table | None] = [None] * len(work.blocks)
    began, done = time.monotonic(), 0
    for place, table in _over_ray(work) if _has_ray() else _here(work):
        parts[place] = table
        done += len(work.blocks[place].rows)
        if progress is not None:
            left = (time.monotonic() - began) * (work.origins - done) / done
            progress(Done(done, work.origins, left))
    return pa.concat_tables(parts)


def _here(work: Judging) -> Iterator[tuple[int, pa.Table]]:
    model, held = None, None
    for place, block in sorted(enumerate(work.blocks), key=lambda one: one[1].model):
        if held != block.model:
            model, held = _ready(work, work.models[block.model]), block.model
        assert model is not None
        version = work.versions[block.model]
        key = block.series.key
        known = None if work.sentiment is None else work.sentiment[key]
        yield place, _judge_block(model, version, block, work.candles[key], work.horizon, known)


def _over_ray(work: Judging) -> Iterator[tuple[int, pa.Table]]:
    import ray

    # Candles cross once, whole; a block names rows of them.
    candles: dict[str, Any] = {key: ray.put(table) for key, table in work.candles.items()}
    known: dict[str, Any] = {key: ray.put(one) for key, one in (work.sentiment or {}).items()}
    sentiment: Any = ray.put(work.sentiment)
    learning: Any = ray.put(work.learning)
    fit = ray.remote(num_cpus=1)(_fit)
    judge_block = ray.remote(num_cpus=1)(_judge_block)
    models = [
        fit.remote(learning, one, sentiment, list(candles), *candles.values())
        if isinstance(one, Refit)
        else ray.put(one)
        for one in work.models
    ]
    places: dict[Any, int] = {
        judge_block.remote(
            models[block.model],
            work.versions[block.model],
            block,
            candles[block.series.key],
            work.horizon,
            known.get(block.series.key),
        ): place
        for place, block in enumerate(work.blocks)
    }
    waiting = list(places)
    try:
        while waiting:
            [ready], waiting = ray.wait(waiting, num_returns=1)
            yield places[ready], _result(ready)
    finally:
        # Stopped half-way: what runs for nobody ends.
        for task in waiting:
            ray.cancel(task, force=True)


def _result(task: Any) -> pa.Table:
    import ray

    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as exc:
        if isinstance(exc.cause, FinSightError):
            raise exc.cause from None
        raise


def _fit(
    learning: Learning,
    refit: Refit,
    sentiment: Mapping[str, Sequence[KnownSentiment]] | None,
    keys: list[str],
    *tables: CandleTable,
) -> Forecaster:
    return learning.fit(refit, dict(zip(keys, tables, strict=True)), sentiment)


def _judge_block(
    model: Forecaster,
    version: str,
    block: Block,
    candles: CandleTable,
    horizon: int,
    sentiment: Sequence[KnownSentiment] | None,
) -> pa.Table:
    naive = naive_forecaster()
    return judge(model, naive, version, block.series, candles, block.rows, horizon, sentiment)


def _ready(work: Judging, model: Forecaster | Refit) -> Forecaster:
    if not isinstance(model, Refit):
        return model
    assert work.learning is not None
    return work.learning.fit(model, work.candles, work.sentiment)


def _has_ray() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()
