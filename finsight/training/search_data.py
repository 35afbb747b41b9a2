"""What a search learns from: the same candles and articles for every trial, also next week."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from finsight.domain.candle_table import CandleTable
from finsight.domain.timeframe import Timeframe
from finsight.ports.news import KnownSentiment
from finsight.settings import Settings
from finsight.training.train_forecaster import _read as read_candles
from finsight.wiring import open_article_store, open_candle_store


@dataclass(frozen=True)
class TrialData:
    """It crosses to the trials once, by the object store."""

    settings: Settings
    timeframe: Timeframe
    candles: Mapping[str, CandleTable]
    sentiment: Mapping[str, Sequence[KnownSentiment]] = field(default_factory=dict)


def read_trial_data(
    settings: Settings, timeframe: Timeframe, until: datetime, *, with_sentiment: bool
) -> TrialData:
    """Return what was known at `until`.

    Raises: InvalidInput (no series has history enough; says how much each has),
        StoreUnavailable.
    """
    return asyncio.run(_read(settings, timeframe, until, with_sentiment))


async def _read(
    settings: Settings, timeframe: Timeframe, until: datetime, with_sentiment: bool
) -> TrialData:
    store = open_candle_store(settings)
    candles = await read_candles(settings, store, timeframe, until)
    sentiment = {}
    if with_sentiment:
        articles = open_article_store(settings)
        for series in await store.list_series():
            if series.key in candles:
                sentiment[series.key] = await articles.known_sentiment(series.base, until)
    return TrialData(settings, timeframe, candles, sentiment)


def fingerprint(candles: Mapping[str, CandleTable]) -> str:
    """Return what tells these candles from any others."""
    digest = hashlib.sha256()
    for key in sorted(candles):
        table = candles[key]
        digest.update(key.encode())
        digest.update(table.ts_ms.tobytes())
        for name in ("close", "volume"):
            digest.update(table.column(name).tobytes())
    return digest.hexdigest()[:16]
