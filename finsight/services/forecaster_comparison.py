"""Two forecasters and naive on the newest candles, which neither was trained on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.domain.forecast_evaluation import scale_of, step_losses
from finsight.domain.model_comparison import BesideRival, ModelComparison
from finsight.domain.significance import FEWEST, diebold_mariano
from finsight.domain.timeframe import Timeframe, from_ms
from finsight.ports.clock import Clock
from finsight.ports.market import CandleStore
from finsight.ports.models import Forecaster, ForecastInput, ModelReaders, ModelReference

KIND_PREFIX = "forecaster-"
MEASURE = "mean scaled pinball loss"
FEWEST_SPANS = 10
"""Horizons, one after the other, below which a comparison says nothing."""

MOST_ORIGINS, MOST_SERIES = 240, 20
"""What one comparison takes at most, so that it ends within a minute or so."""

_AT_ONCE = 256


@dataclass(frozen=True)
class _Span:
    """Which origins are forecast from, and what a forecast looks back over and ahead.

    `opens` are the opening times of all candles from the first one looked at to the last
    one forecast; `starts` are the rows of the first candles forecast.
    """

    opens: np.ndarray
    starts: np.ndarray
    stride: int
    history: int
    horizon: int


@dataclass(frozen=True)
class _Windows:
    """What is forecast, and what happened: `origins` are rows of `_Span.starts`."""

    inputs: list[ForecastInput]
    truth: np.ndarray
    origins: np.ndarray


class ForecasterComparison:
    """Rolling origins over every stored series of a timeframe that both can serve.

    At each origin the loss is the mean over its series and steps of the scaled pinball
    loss; over the origins goes the Diebold-Mariano test.
    """

    def __init__(
        self,
        candles: CandleStore,
        clock: Clock,
        readers: ModelReaders,
        input_candles: int,
    ) -> None:
        """`input_candles` is what serving looks back over."""
        self._candles = candles
        self._clock = clock
        self._load = readers.forecaster
        self._naive = readers.naive
        self._input_candles = input_candles

    async def compare(
        self, challenger: ModelReference, champion: ModelReference | None
    ) -> ModelComparison:
        """Hold `challenger` against `champion`, where there is one, and against naive.

        Raises:
            InvalidInput: a version doesn't say until when it was trained.
            ModelUnavailable: a version's files can't be read.
            StoreUnavailable: try again later.
        """
        references = [challenger, *([champion] if champion is not None else [])]
        unseen_from = max(map(trained_until, references))
        timeframe = Timeframe(challenger.kind.removeprefix(KIND_PREFIX))
        models = [await asyncio.to_thread(self._load, one) for one in references]
        span = self._span(timeframe, models, unseen_from)
        answer = ModelComparison(
            kind=challenger.kind,
            version=challenger.version,
            champion=champion.version if champion is not None else None,
            data=f"candles from {unseen_from.isoformat()} on",
        )
        needed = FEWEST_SPANS * span.horizon
        there = int(len(span.opens) - span.history)
        if there < needed:
            enough = from_ms(int(_later(timeframe, unseen_from, needed + 1)))
            return answer.model_copy(
                update={
                    "missing": f"too little to compare on: both were trained until before "
                    f"{unseen_from.isoformat()}, and {there} {timeframe} candles have closed "
                    f"since; {needed} are needed ({needed - there} more), which will have closed "
                    f"by {enough.isoformat()}"
                }
            )
        windows = await self._windows(timeframe, span, models)
        return await asyncio.to_thread(self._held_against, answer, models, span, windows)

    def _span(
        self, timeframe: Timeframe, models: Sequence[Forecaster], unseen_from: datetime
    ) -> _Span:
        horizon = min(model.max_horizon for model in models)
        # What naive asks of a history grows with the horizon.
        needs = [self._naive.min_history - 1 + horizon, *(model.min_history for model in models)]
        history = max(self._input_candles, *needs)
        first = timeframe.ceil(unseen_from)
        ahead = timeframe.opens_between(first, timeframe.floor(self._clock.now()))
        back = timeframe.opens_between(first - (history + 1) * timeframe.duration, first)[-history:]
        last = len(ahead) - horizon
        stride = max(1, math.ceil((last + 1) / MOST_ORIGINS))
        # The newest candles are always among those forecast.
        starts = history + np.arange(last, -1, -stride)[::-1]
        return _Span(np.concatenate([back, ahead]), starts, stride, history, horizon)

    async def _windows(
        self, timeframe: Timeframe, span: _Span, models: Sequence[Forecaster]
    ) -> list[_Windows]:
        """Return, per series with an unbroken stretch, what is forecast and what happened."""
        stored = [one for one in await self._candles.list_series() if one.timeframe is timeframe]
        known = frozenset[str]().union(*(model.trained_on for model in models))
        chosen = sorted(stored, key=lambda one: (one.key not in known, one.key))[:MOST_SERIES]
        found: list[_Windows] = []
        start, end = from_ms(int(span.opens[0])), timeframe.next(from_ms(int(span.opens[-1])))
        for series in chosen:
            windows = _cut(series, await self._candles.read(series, start, end), span)
            if len(windows.origins):
                found.append(windows)
        return found

    def _held_against(
        self,
        answer: ModelComparison,
        models: Sequence[Forecaster],
        span: _Span,
        windows: Sequence[_Windows],
    ) -> ModelComparison:
        first, last = (from_ms(int(span.opens[row])) for row in (span.history, -1))
        losses = [_origin_losses(model, span, windows) for model in [*models, self._naive]]
        usable = np.flatnonzero(~np.isnan(np.stack(losses)).any(axis=0))
        answer = answer.model_copy(
            update={
                "data": f"{len(usable)} origins over {len(windows)} series, {span.horizon} candles "
                f"ahead, {first.isoformat()} to {last.isoformat()}",
                "figures": {
                    "origins": float(len(usable)),
                    "series": float(len(windows)),
                    "forecasts": float(sum(len(one.origins) for one in windows)),
                    "horizon": float(span.horizon),
                },
            }
        )
        if len(usable) < FEWEST:
            stored = f"{len(windows)} series with an unbroken stretch of candles"
            return answer.model_copy(
                update={
                    "missing": f"too little to compare on: {stored} give {len(usable)} forecasts "
                    f"between {first.isoformat()} and {last.isoformat()}, {FEWEST} are needed: "
                    "fill the gaps, as in finsight backfill EXCHANGE SYMBOL TIMEFRAME --gaps"
                }
            )
        overlap = math.ceil(span.horizon / span.stride)
        ours, *others = (one[usable] for one in losses)
        names = [*([f"version {answer.champion}"] if answer.champion else []), self._naive.name]
        rivals = tuple(
            BesideRival.of(
                name,
                MEASURE,
                float(ours.mean()),
                float(theirs.mean()),
                diebold_mariano(ours, theirs, overlap),
            )
            for name, theirs in zip(names, others, strict=True)
        )
        return answer.model_copy(update={"rivals": rivals})


def trained_until(reference: ModelReference) -> datetime:
    """Return when the candles begin that the version never saw. Raises: InvalidInput."""
    told = reference.tags.get("trained_until", "")
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(
            f"{reference.kind} version {reference.version} does not say until when it was trained "
            f"(its tag trained_until is '{told}'), so no data is known to be new to it: train it "
            "again, or force its promotion with a reason"
        )
    return moment


def _later(timeframe: Timeframe, moment: datetime, candles: int) -> int:
    """Return, in milliseconds, when the last of `candles` from `moment` on opens."""
    first = timeframe.ceil(moment)
    opens = timeframe.opens_between(first, first + (candles + 1) * timeframe.duration)
    return int(opens[candles - 1])


def _cut(series: Series, candles: CandleTable, span: _Span) -> _Windows:
    """Return the windows of `series` in which no candle is missing."""
    closes = np.full(len(span.opens), np.nan)
    _, rows, found = np.intersect1d(
        span.opens, candles.ts_ms, assume_unique=True, return_indices=True
    )
    closes[rows] = candles.column("close")[found]
    length = span.history + span.horizon
    whole = sliding_window_view(closes, length)[span.starts - span.history]
    unbroken = np.flatnonzero(~np.isnan(whole).any(axis=1))
    return _Windows(
        [ForecastInput(series, whole[row, : span.history], span.horizon) for row in unbroken],
        whole[unbroken, span.history :],
        unbroken,
    )


def _origin_losses(model: Forecaster, span: _Span, windows: Sequence[_Windows]) -> np.ndarray:
    """Return the mean loss over the series at each origin; nan where no series has one."""
    sums, counts = np.zeros(len(span.starts)), np.zeros(len(span.starts))
    for one in windows:
        made: list[np.ndarray] = []
        for start in range(0, len(one.inputs), _AT_ONCE):
            made += model.forecast(one.inputs[start : start + _AT_ONCE])
        histories = np.stack([request.closes for request in one.inputs])
        losses = step_losses(np.stack(made), one.truth, scale_of(histories)).pinball.mean(axis=1)
        # A price that never moved has no scale: it says nothing of anybody.
        has_scale = ~np.isnan(scale_of(histories).absolute)
        if not np.isfinite(losses[has_scale]).all():
            raise ModelUnavailable(
                f"{model.name} {model.version} answers {one.inputs[0].series} with something that "
                "is not a finite number: it can't be compared, and must not serve"
            )
        sums[one.origins[has_scale]] += losses[has_scale]
        counts[one.origins[has_scale]] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
