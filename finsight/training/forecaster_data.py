"""What a forecaster is trained on: stored candles with what was known beside them, or a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.history import History
from finsight.domain.known_features import SENTIMENT_WINDOW
from finsight.domain.time_splits import NAMED_SPLITS, TimeSplits, split_by_rows
from finsight.domain.timeframe import Timeframe
from finsight.settings import Settings
from finsight.training.long_format import read_values
from finsight.wiring import open_article_store, open_candle_store

MAX_CANDLES = 20_000
"""The newest candles of each series that are learnt from."""


@dataclass(frozen=True)
class TrainingData:
    """Histories by series key, the registry's kind of what they make, and how they are parted.

    `timeframe` is None where a file's steps are none of ours; `splits` None: by the recipe.
    """

    kind: str
    timeframe: Timeframe | None
    histories: Mapping[str, History]
    splits: TimeSplits | None = None
    source: str = "candles"


def forecaster_kind(timeframe: Timeframe) -> str:
    """The registry's name of the forecasters of a timeframe: 'forecaster-1h'."""
    return f"forecaster-{timeframe}"


async def stored_data(
    settings: Settings,
    timeframe: Timeframe,
    recipe: ForecasterRecipe,
    now: datetime,
    only: tuple[str, ...] = (),
) -> TrainingData:
    """Return the newest closed candles of every series with enough of them.

    `only` picks series by a part of their name, such as BTC or binance. An exogenous recipe
    also gets the sentiment that became known over the same span.

    Raises: InvalidInput (no series has history enough; says how much each has).
    """
    store, articles = open_candle_store(settings), open_article_store(settings)
    needed = settings.forecasting.min_train_candles
    open_now = timeframe.floor(now)
    histories: dict[str, History] = {}
    too_short: list[str] = []
    others: list[str] = []
    for series in await store.list_series():
        if series.timeframe is not timeframe:
            continue
        if only and not any(part.upper() in str(series).upper() for part in only):
            others.append(str(series))
            continue
        found = await store.read(series, open_now - MAX_CANDLES * timeframe.duration, open_now)
        if len(found) < needed:
            too_short.append(f"{series} has {len(found)}")
            continue
        known = None
        if recipe.exogenous:
            known = await articles.known_sentiment(
                series.base, open_now, _first(found) - max(SENTIMENT_WINDOW, timeframe.duration)
            )
        histories[series.key] = History.of_candles(found, timeframe, known)
    if not histories:
        what = f"no {timeframe} series"
        if only:
            what += f" named like {', '.join(only)}"
        there = "; ".join(too_short) or (
            f"stored: {', '.join(others)}" if others else "none is stored"
        )
        raise InvalidInput(
            f"{what} has the {needed} candles that training needs ({there}): backfill more"
        )
    return TrainingData(forecaster_kind(timeframe), timeframe, histories)


def file_data(path: Path, splits: str | None, only: tuple[str, ...] = ()) -> TrainingData:
    """Return what a file of values holds, as a kind of its own: nothing serves it by itself.

    `splits` are rows of training, validation and test ("8640,2880,2880") or a name of
    `NAMED_SPLITS`. Raises: InvalidInput.
    """
    histories = read_values(path)
    if only:
        histories = {
            key: one
            for key, one in histories.items()
            if any(part.upper() in key.upper() for part in only)
        }
        if not histories:
            raise InvalidInput(f"{path} has no series named like {', '.join(only)}")
    step_ms = next(iter(histories.values())).step_ms
    timeframe = next(
        (one for one in Timeframe if not one.is_calendar and one.duration_ms == step_ms), None
    )
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem)
    return TrainingData(
        f"forecaster-{name}",
        timeframe,
        histories,
        split_by_rows(histories, parse_splits(splits)) if splits else None,
        path.name,
    )


def parse_splits(text: str) -> tuple[int, int, int]:
    """Return rows of training, validation and test. Raises: InvalidInput."""
    if text in NAMED_SPLITS:
        return NAMED_SPLITS[text]
    try:
        training, validation, test = (int(part) for part in text.split(","))
    except ValueError as exc:
        raise InvalidInput(
            f"the splits '{text}' can't be read; expected rows of training, validation and test "
            f"such as 8640,2880,2880, or one of {', '.join(NAMED_SPLITS)}"
        ) from exc
    return training, validation, test


def _first(candles: CandleTable) -> datetime:
    first = candles.first_opened_at
    assert first is not None
    return first
