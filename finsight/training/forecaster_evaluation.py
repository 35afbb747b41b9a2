"""A forecaster of the registry, judged on candles that it never saw, beside naive."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pyarrow as pa

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.forecast_verdict import ForecasterVerdict, verdict_on
from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.known_features import SENTIMENT_WINDOW
from finsight.domain.promotion import CHALLENGER, CHAMPION
from finsight.domain.timeframe import Timeframe, from_ms
from finsight.ports.models import ModelReference, ModelRegistry
from finsight.ports.news import KnownSentiment
from finsight.services.forecast_judging import Span, origin_rows, outcomes_of
from finsight.services.forecasting import HISTORY_CANDLES
from finsight.settings import Settings
from finsight.training.forecaster_data import MAX_CANDLES, forecaster_kind
from finsight.training.spread_judging import (
    BLOCK_ORIGINS,
    Block,
    Done,
    Judging,
    Learning,
    Refit,
    judged,
)
from finsight.wiring import (
    open_article_store,
    open_candle_store,
    open_clock,
    open_model_registry,
    read_forecaster,
    recipe_of,
)


@dataclass(frozen=True)
class Question:
    """What is to be judged.

    `version` is a number or an alias. Origins are `every` candles apart (None: a quarter of
    the horizon) and forecast candles from `since` (None: what the version learnt from ended
    then) `until` (None: now). `series` are keys; none means all that are stored. With
    `refit_every`, the version's recipe is trained anew every so many candles.
    """

    timeframe: Timeframe
    version: str = CHAMPION
    since: datetime | None = None
    until: datetime | None = None
    horizon: int | None = None
    every: int | None = None
    series: tuple[str, ...] = ()
    refit_every: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """The verdict, every forecast behind it (`forecast_judging.SCHEMA`), and what was left out."""

    verdict: ForecasterVerdict
    forecasts: pa.Table
    notes: tuple[str, ...]


def evaluate_forecaster(
    settings: Settings, asked: Question, progress: Callable[[Done], None] | None = None
) -> Evaluation:
    """Forecast from every origin as of then, and hold it against what happened.

    Over Ray where this process is connected to it; the rows are the same without.

    Raises:
        NotFound: no such version, no champion, no such series.
        InvalidInput: no origin after what was learnt from, too far a horizon.
        StoreUnavailable, ModelUnavailable: try again later.
    """
    for name, count in (("horizon", asked.horizon), ("every", asked.every)):
        if count is not None and count < 1:
            raise InvalidInput(f"{name} must be at least 1 candle, not {count}")
    if asked.refit_every is not None and asked.refit_every < 1:
        raise InvalidInput(f"refit-every must be at least 1 candle, not {asked.refit_every}")
    registry = open_model_registry(settings)
    reference = _version(registry, asked)
    model = read_forecaster(settings, reference)
    horizon = asked.horizon or model.max_horizon
    if horizon > model.max_horizon:
        raise InvalidInput(
            f"{model.name} {reference.version} forecasts at most {model.max_horizon} candles "
            f"ahead, not {horizon}"
        )
    span = _span(settings, asked, reference, horizon)
    before = MAX_CANDLES if asked.refit_every else 2 * HISTORY_CANDLES
    candles = asyncio.run(_read(settings, asked, span, before))
    rows, notes = find_origins(candles, asked.timeframe, span, model.min_history)
    recipe = recipe_of(settings, reference)
    sentiment = asyncio.run(_sentiment(settings, candles)) if recipe.exogenous else None
    if asked.refit_every is not None:
        evaluation = judge_refitted(
            settings,
            f"{model.name} {reference.version}",
            recipe,
            candles,
            rows,
            span,
            asked.refit_every,
            sentiment=sentiment,
            progress=progress,
        )
        return replace(evaluation, notes=tuple(notes))
    blocks = [Block(series, part, 0) for series, found in rows.items() for part in _blocks(found)]
    by_key = {series.key: table for series, table in candles.items()}
    work = Judging(
        by_key,
        (model,),
        (reference.version,),
        tuple(blocks),
        span.horizon,
        sentiment=sentiment,
    )
    table = judged(work, progress)
    verdict = verdict_on(f"{model.name} {reference.version}", outcomes_of(table, span.every))
    return Evaluation(verdict, table, tuple(notes))


def judge_refitted(
    settings: Settings,
    name: str,
    recipe: ForecasterRecipe,
    candles: Mapping[Series, CandleTable],
    rows: Mapping[Series, np.ndarray],
    span: Span,
    refit_every: int,
    *,
    sentiment: Mapping[str, Sequence[KnownSentiment]] | None = None,
    progress: Callable[[Done], None] | None = None,
) -> Evaluation:
    """Judge a recipe, trained anew every `refit_every` candles on what had closed by then.

    `rows` are the origins, rows of `candles`; `name` is what the verdict calls the model;
    `sentiment`, by series key, is there for an exogenous recipe.

    Raises: InvalidInput (too little history before the first training).
    """
    [timeframe] = {series.timeframe for series in candles}
    by_key = {series.key: table for series, table in candles.items()}
    cuts = timeframe.opens_between(timeframe.ceil(span.since), span.until)[::refit_every]
    models = tuple(Refit(from_ms(int(cut))) for cut in cuts)
    blocks = []
    for series, found in rows.items():
        closes_at = timeframe.next_ms(by_key[series.key].ts_ms[found])
        edges = [*np.searchsorted(closes_at, cuts), len(found)]
        for place, (low, high) in enumerate(itertools.pairwise(edges)):
            blocks += [Block(series, part, place) for part in _blocks(found[low:high])]
    names = tuple(f"{name}, trained {one.until:%Y-%m-%d %H:%M}" for one in models)
    learning = Learning(settings, timeframe, recipe, MAX_CANDLES)
    work = Judging(by_key, models, names, tuple(blocks), span.horizon, learning, sentiment)
    table = judged(work, progress)
    how = f"{name} (trained anew every {refit_every} candles)"
    return Evaluation(verdict_on(how, outcomes_of(table, span.every)), table, ())


def _version(registry: ModelRegistry, asked: Question) -> ModelReference:
    kind = forecaster_kind(asked.timeframe)
    if asked.version in (CHAMPION, CHALLENGER):
        held = registry.holder(kind, asked.version)
        if held is None:
            raise NotFound(
                f"{kind} has no {asked.version}; train one with `finsight train forecaster "
                f"{asked.timeframe}`, or name a version"
            )
        return held
    versions = registry.versions(kind)
    for reference in versions:
        if reference.version == asked.version:
            return reference
    there = ", ".join(reference.version for reference in versions) or "none"
    raise NotFound(
        f"{kind} has no version {asked.version}; there are: {there}. "
        f"{CHAMPION} and {CHALLENGER} name those under the aliases"
    )


def _span(settings: Settings, asked: Question, reference: ModelReference, horizon: int) -> Span:
    learnt_until = reference.tags.get("trained_until")
    since = asked.since
    if asked.refit_every is None or since is None:
        if learnt_until is None:
            raise InvalidInput(
                f"version {reference.version} doesn't say until when it learnt (it has no tag "
                "trained_until): what it never saw is unknown; train it anew"
            )
        first = datetime.fromisoformat(learnt_until)
        if since is not None and since < first:
            raise InvalidInput(
                f"version {reference.version} learnt from candles before {first.isoformat()}: "
                f"from {since.isoformat()} on it would know some of the answers. Judge it from "
                "then on, or let --refit-every train it anew on what came before each stretch"
            )
        since = since or first
    closed = asked.timeframe.floor(open_clock(settings).now())
    until = min(asked.until or closed, closed)
    return Span(since, until, asked.every or max(1, horizon // 4), horizon)


async def _read(
    settings: Settings, asked: Question, span: Span, before: int
) -> Mapping[Series, CandleTable]:
    store = open_candle_store(settings)
    stored = [one for one in await store.list_series() if one.timeframe is asked.timeframe]
    known = {series.key: series for series in stored}
    unknown = [key for key in asked.series if key not in known]
    if unknown or not known:
        raise NotFound(
            f"no {asked.timeframe} candles of {', '.join(unknown) or 'any series'} are stored; "
            f"stored: {', '.join(sorted(known)) or 'none'}"
        )
    earliest = span.since - before * asked.timeframe.duration
    candles = {}
    for key in sorted(asked.series or known):
        # The last candle is always read: where none is young enough, it says since when.
        last = (await store.summary(known[key])).last
        start = earliest if last is None else min(earliest, last)
        candles[known[key]] = await store.read(known[key], start, max(span.until, start))
    return candles


async def _sentiment(
    settings: Settings, candles: Mapping[Series, CandleTable]
) -> dict[str, Sequence[KnownSentiment]]:
    """What was known of each series' coin over its candles, with when it was known."""
    articles = open_article_store(settings)
    known: dict[str, Sequence[KnownSentiment]] = {}
    for series, table in candles.items():
        first, last = table.first_opened_at, table.last_opened_at
        known[series.key] = []
        if first is not None and last is not None:
            since = first - max(SENTIMENT_WINDOW, series.timeframe.duration)
            until = series.timeframe.next(last)
            known[series.key] = await articles.known_sentiment(series.base, until, since)
    return known


def find_origins(
    candles: Mapping[Series, CandleTable], timeframe: Timeframe, span: Span, window: int
) -> tuple[dict[Series, np.ndarray], list[str]]:
    """Return the origins of each series that has some, and a remark on each that has none.

    `window` is how many unbroken candles an origin needs. Raises: InvalidInput (none at all).
    """
    rows, notes = {}, []
    for series, table in candles.items():
        found = origin_rows(table, timeframe, span, window)
        if len(found):
            rows[series] = found
        else:
            last = table.last_opened_at
            there = f"its candles end at {last.isoformat()}" if last else "it has no candles"
            notes.append(f"{series} has no origin: {there}")
    if not rows:
        raise InvalidInput(
            f"there is nothing to judge on: forecasts of {span.horizon} candles between "
            f"{span.since.isoformat()} and {span.until.isoformat()}, each after {window} unbroken "
            f"ones. {'; '.join(notes)}. Collect more, or train on older candles"
        )
    return rows, notes


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[first : first + BLOCK_ORIGINS] for first in range(0, len(rows), BLOCK_ORIGINS)]
