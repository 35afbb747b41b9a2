"""What a forecaster learns from: the values of one series, with what else was known."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.known_features import KnownScore, known_features
from finsight.domain.timeframe import Timeframe, from_ms


@dataclass(frozen=True)
class History:
    """The values of one series, oldest first, and where they are unbroken.

    Units:
        ts_ms: when each value's candle opened, UTC milliseconds, strictly rising.
        values: float64, finite; closes in quote currency, or whatever a file held.
        step_ms: how far two neighbours are apart (the longest, for months).
        breaks: rows at which a stretch begins because something is missing before it.
        known: features by name, row for row with `values`, each known by the row's close.
    """

    ts_ms: np.ndarray
    values: np.ndarray
    step_ms: int
    breaks: tuple[int, ...] = ()
    known: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of_candles(
        cls,
        candles: CandleTable,
        timeframe: Timeframe,
        sentiment: Sequence[KnownScore] | None = None,
    ) -> History:
        """Build from closes; with `sentiment`, from all that was known beside them."""
        ts = candles.ts_ms
        breaks = np.flatnonzero(ts[1:] != timeframe.next_ms(ts[:-1])) + 1
        return cls(
            ts,
            np.asarray(candles.column("close"), np.float64),
            timeframe.duration_ms,
            tuple(breaks.tolist()),
            {} if sentiment is None else known_features(candles, timeframe, sentiment),
        )

    @classmethod
    def of_values(cls, ts_ms: np.ndarray, values: np.ndarray, name: str) -> History:
        """Build from values at even times, as files hold them.

        Raises: InvalidInput (not finite, unsorted or duplicated times, only one row).
        """
        if len(values) < 2:
            raise InvalidInput(f"{name} has {len(values)} rows; expected at least two")
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise InvalidInput(
                f"{name}: row {int(bad[0])}, of {from_ms(int(ts_ms[bad[0]])).isoformat()}, holds "
                f"no finite number (and {len(bad) - 1} more); fill such rows or leave them out"
            )
        steps = np.diff(ts_ms)
        wrong = np.flatnonzero(steps <= 0)
        if len(wrong):
            row = int(wrong[0]) + 1
            what = "has the same time as" if steps[row - 1] == 0 else "comes before"
            raise InvalidInput(
                f"{name}: row {row}, of {from_ms(int(ts_ms[row])).isoformat()}, {what} the row "
                "above it; sort the rows of a series by time, and keep one of each time"
            )
        step = int(np.median(steps))
        return cls(ts_ms, values, step, tuple((np.flatnonzero(steps != step) + 1).tolist()))

    def stretches(self) -> list[tuple[int, int]]:
        """Return (first row, row after the last) of each unbroken stretch."""
        return list(itertools.pairwise([0, *self.breaks, len(self)]))


def fingerprint(histories: Mapping[str, History]) -> str:
    """16 hex digits that differ when any value, time or feature does."""
    digest = hashlib.sha256()
    for key in sorted(histories):
        history = histories[key]
        digest.update(key.encode())
        for column in (
            history.ts_ms,
            history.values,
            *(v for _, v in sorted(history.known.items())),
        ):
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]
