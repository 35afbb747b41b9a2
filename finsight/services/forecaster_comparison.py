"""Two forecasters and naive on the newest candles, which neither was trained on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.domain.forecast_evaluation import scale_of, step_losses
from finsight.domain.known_features import SENTIMENT_WINDOW
from finsight.domain.model_comparison import BesideRival, Measure, ModelComparison
from finsight.domain.significance import FEWEST, diebold_mariano
from finsight.domain.timeframe import Timeframe, from_ms
from finsight.ports.clock import Clock
from finsight.ports.market import CandleStore
from finsight.ports.models import Forecaster, ModelReference
from finsight.ports.news import ArticleStore
from finsight.ports.promotion import ModelReaders
from finsight.services.comparison_windows import Span, Windows, cut_windows
from finsight.services.forecasting import HISTORY_CANDLES

KIND_PREFIX = "forecaster-"
FEWEST_SPANS = 10
"""Horizons, one after the other, below which a comparison says nothing."""

MOST_ORIGINS, MOST_SERIES = 240, 20
"""What one comparison takes at most, so that it ends within a minute or so."""

_AT_ONCE = 256


class ForecasterComparison:
    """Rolling origins over every stored series of a timeframe that both can serve.

    At each origin a loss is the mean over its series and steps; over the origins goes the
    Diebold-Mariano test. Against a champion the scaled pinball loss decides, against naive
    also the error of the forecast itself: good intervals alone are no forecast.
    """

    def __init__(
        self,
        candles: CandleStore,
        articles: ArticleStore,
        clock: Clock,
        readers: ModelReaders,
        input_candles: int,
    ) -> None:
        """`input_candles` is what serving looks back over."""
        self._candles = candles
        self._articles = articles
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
        timeframe = timeframe_of(challenger.kind)
        models = [await asyncio.to_thread(self._load, one) for one in references]
        span = self._span(timeframe, models, unseen_from)
        answer = ModelComparison(
            kind=challenger.kind,
            version=challenger.version,
            champion=champion.version if champion is not None else None,
            data=f"candles from {unseen_from.isoformat()} on",
        )
        needed = FEWEST_SPANS * span.horizon
        there = span.new
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
    ) -> Span:
        horizon = min(model.max_horizon for model in models)
        # What naive asks of a history grows with the horizon.
        needs = [self._naive.min_history - 1 + horizon, *(model.min_history for model in models)]
        history = max(self._input_candles, *needs)
        first = timeframe.ceil(unseen_from)
        ahead = timeframe.opens_between(first, timeframe.floor(self._clock.now()))
        looked_at = max(history, HISTORY_CANDLES)
        back = timeframe.opens_between(first - looked_at * timeframe.duration, first)
        last = len(ahead) - horizon
        stride = max(1, math.ceil((last + 1) / MOST_ORIGINS))
        # The newest candles are always among those forecast.
        starts = len(back) + np.arange(last, -1, -stride)[::-1]
        opens = np.concatenate([back, ahead])
        return Span(opens, len(back), starts, stride, history, horizon)

    async def _windows(
        self, timeframe: Timeframe, span: Span, models: Sequence[Forecaster]
    ) -> list[Windows]:
        """Return, per series with an unbroken stretch, what is forecast and what happened."""
        stored = [one for one in await self._candles.list_series() if one.timeframe is timeframe]
        known = frozenset[str]().union(*(model.trained_on for model in models))
        chosen = sorted(stored, key=lambda one: (one.key not in known, one.key))[:MOST_SERIES]
        found: list[Windows] = []
        start, end = from_ms(int(span.opens[0])), timeframe.next(from_ms(int(span.opens[-1])))
        for series in chosen:
            candles = await self._candles.read(series, start, end)
            since = start - max(SENTIMENT_WINDOW, timeframe.duration)
            sentiment = await self._articles.known_sentiment(series.base, end, since)
            windows = cut_windows(series, candles, sentiment, span)
            if len(windows.origins):
                found.append(windows)
        return found

    def _held_against(
        self,
        answer: ModelComparison,
        models: Sequence[Forecaster],
        span: Span,
        windows: Sequence[Windows],
    ) -> ModelComparison:
        first, last = (from_ms(int(span.opens[row])) for row in (span.first, -1))
        losses = [_losses(model, span, windows) for model in [*models, self._naive]]
        usable = np.flatnonzero(~np.isnan(np.stack(losses)).any(axis=(0, 1)))
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

        def beside(rival: str, theirs: np.ndarray, row: int, measure: Measure) -> BesideRival:
            our_own, other = losses[0][row, usable], theirs[row, usable]
            tested = diebold_mariano(our_own, other, overlap)
            means = float(our_own.mean()), float(other.mean())
            return BesideRival.of(rival, measure, *means, tested)

        rivals = [
            beside(self._naive.name, losses[-1], 0, Measure.PINBALL),
            beside(self._naive.name, losses[-1], 1, Measure.ERROR),
        ]
        if answer.champion is not None:
            rivals.insert(0, beside(f"version {answer.champion}", losses[1], 0, Measure.PINBALL))
        return answer.model_copy(update={"rivals": tuple(rivals)})


def timeframe_of(kind: str) -> Timeframe:
    """Return which candles a forecaster of `kind` forecasts. Raises: InvalidInput."""
    try:
        return Timeframe(kind.removeprefix(KIND_PREFIX))
    except ValueError as exc:
        raise InvalidInput(
            f"{kind} was not trained on stored candles of a timeframe, so there are no newer ones "
            "to compare it on, and nothing that it could serve"
        ) from exc


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


def _losses(model: Forecaster, span: Span, windows: Sequence[Windows]) -> np.ndarray:
    """Return pinball loss and error at each origin, means over its series: (2, origins).

    nan where no series has a forecast.
    """
    sums, counts = np.zeros((2, len(span.starts))), np.zeros(len(span.starts))
    for one in windows:
        made: list[np.ndarray] = []
        for start in range(0, len(one.inputs), _AT_ONCE):
            made += model.forecast(one.inputs[start : start + _AT_ONCE])
        scale = scale_of(np.stack([request.closes[-one.scale :] for request in one.inputs]))
        steps = step_losses(np.stack(made), one.truth, scale)
        # A price that never moved has no scale: it says nothing of anybody.
        moved = ~np.isnan(scale.absolute)
        losses = np.stack([steps.pinball.mean(axis=1), steps.absolute.mean(axis=1)])[:, moved]
        if not np.isfinite(losses).all():
            raise ModelUnavailable(
                f"{model.name} {model.version} answers {one.inputs[0].series} with something that "
                "is not a finite number: it can't be compared, and must not serve"
            )
        sums[:, one.origins[moved]] += losses
        counts[one.origins[moved]] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
