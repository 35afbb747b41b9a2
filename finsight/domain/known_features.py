"""What else was known beside prices: each feature carries the moment it became known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from finsight.domain.asof import as_of, mean_known
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import LookedAhead
from finsight.domain.timeframe import Timeframe, from_ms, to_ms

FEATURES = ("volume", "sentiment", "articles")
"""The features there are, in the order in which a model sees them."""

SENTIMENT_WINDOW = timedelta(days=1)
"""The trend at a moment is the mean of the scores that became known in this span before it."""


class KnownScore(Protocol):
    """The score of one article, and when it was known to everyone who could act on it."""

    @property
    def known_at(self) -> datetime: ...

    @property
    def score(self) -> float: ...


@dataclass(frozen=True)
class KnownFeature:
    """One value a candle, with when it became known.

    Units:
        values: float64, shape (candles,).
        known_at_ms: UTC milliseconds, int64, shape (candles,).
    """

    name: str
    values: np.ndarray
    known_at_ms: np.ndarray


def known_features(
    candles: CandleTable, timeframe: Timeframe, sentiment: Sequence[KnownScore]
) -> dict[str, np.ndarray]:
    """Return every one of `FEATURES` at each candle's close: the one way they are made.

    Training and serving both call this. The volume is the candle's own, known as it
    closes; the sentiment is the mean of the scores that became known in the span before
    the close, 0 where there were none; `articles` says how many there were.
    """
    closed_ms = timeframe.next_ms(candles.ts_ms)
    known_ms = np.array([to_ms(one.known_at) for one in sentiment], dtype=np.int64)
    scores = np.array([one.score for one in sentiment], dtype=np.float64)
    window_ms = max(SENTIMENT_WINDOW // timedelta(milliseconds=1), timeframe.duration_ms)
    trend, counts = mean_known(closed_ms, known_ms, scores, window_ms)
    # A moment at which nothing was known yet: that too was known then.
    newest = as_of(closed_ms, known_ms, known_ms.astype(np.float64))
    newest_ms = np.where(np.isnan(newest), closed_ms, newest).astype(np.int64)
    return join_known(
        closed_ms,
        [
            KnownFeature("volume", np.asarray(candles.column("volume")), closed_ms),
            KnownFeature("sentiment", np.nan_to_num(trend, nan=0.0), newest_ms),
            KnownFeature("articles", counts.astype(np.float64), newest_ms),
        ],
    )


def join_known(closed_ms: np.ndarray, features: Sequence[KnownFeature]) -> dict[str, np.ndarray]:
    """Return the features' values by name, row for row with candles that closed at `closed_ms`.

    Raises: LookedAhead (a value that became known after its candle had closed).
    """
    for feature in features:
        if not len(feature.values) == len(feature.known_at_ms) == len(closed_ms):
            raise LookedAhead(
                f"the feature {feature.name} has {len(feature.values)} values with "
                f"{len(feature.known_at_ms)} moments for {len(closed_ms)} candles: every candle "
                "needs one value, with when it became known"
            )
        late = np.flatnonzero(feature.known_at_ms > closed_ms)
        if len(late):
            row = int(late[0])
            raise LookedAhead(
                f"the feature {feature.name} looks ahead: what stands at the candle that closed "
                f"at {from_ms(int(closed_ms[row])).isoformat()} was not known before "
                f"{from_ms(int(feature.known_at_ms[row])).isoformat()} (and {len(late) - 1} more); "
                "join it as of when it was known"
            )
    return {feature.name: np.asarray(feature.values, np.float64) for feature in features}


def nothing_known(rows: int) -> Mapping[str, np.ndarray]:
    """The features of `rows` candles without trades or articles."""
    return {name: np.zeros(rows) for name in FEATURES}
