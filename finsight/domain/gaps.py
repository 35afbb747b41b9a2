"""Which candles of a range are missing, and whether anybody has asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

import numpy as np

from finsight.domain.interval import Interval, union
from finsight.domain.timeframe import Timeframe, from_ms, to_ms


class GapKind(StrEnum):
    """Why candles are missing."""

    NOT_FETCHED = "not fetched"
    NO_TRADES = "no trades"


class GapPlace(StrEnum):
    """Where a gap lies among what is known: candles, and spans that were asked for and answered."""

    LEADING = "leading"
    INTERIOR = "interior"
    TRAILING = "trailing"
    WHOLE = "whole"


# By whether a gap leads and whether it trails.
_PLACES = {
    (True, False): GapPlace.LEADING,
    (False, False): GapPlace.INTERIOR,
    (False, True): GapPlace.TRAILING,
    (True, True): GapPlace.WHOLE,
}


@dataclass(frozen=True)
class Gap:
    """Consecutive opening times without a candle, all of one kind.

    `start` is the first of them; `end` is the opening time after the last.
    "no trades" means asked for and answered with nothing. A gap with nothing
    known before it is leading, with nothing after it trailing, with neither whole.
    """

    start: datetime
    end: datetime
    missing: int
    kind: GapKind
    place: GapPlace

    @property
    def interval(self) -> Interval:
        return Interval(self.start, self.end)


@dataclass(frozen=True, eq=False)
class GapReport:
    """The gaps of one series between `start` and `end`, oldest first.

    Gaps are kept as columns, because an illiquid series has a million of them in
    a year; ask for `Gap`s with `gaps`.

    Columns (one row a gap): `start_ms`, `end_ms` (UTC milliseconds, end excluded),
    `missing` (candles), `answered` (the kind is "no trades").
    """

    timeframe: Timeframe
    start: datetime
    end: datetime
    expected: int
    present: int
    start_ms: np.ndarray
    end_ms: np.ndarray
    missing: np.ndarray
    answered: np.ndarray
    known_from_ms: int | None
    known_to_ms: int | None

    def __len__(self) -> int:
        return len(self.start_ms)

    @property
    def not_fetched(self) -> int:
        """Candles that nobody has asked for."""
        return int(self.missing[~self.answered].sum())

    @property
    def no_trades(self) -> int:
        """Candles that were asked for and don't exist."""
        return int(self.missing[self.answered].sum())

    def gaps(
        self, kind: GapKind | None = None, place: GapPlace | None = None, limit: int | None = None
    ) -> list[Gap]:
        """Return the gaps of that kind and place, oldest first, at most `limit`."""
        chosen = np.ones(len(self), dtype=bool)
        if kind is not None:
            chosen &= self.answered == (kind is GapKind.NO_TRADES)
        if place is not None:
            chosen &= self._is_at(place)
        return [self._gap(row) for row in np.flatnonzero(chosen)[:limit].tolist()]

    @property
    def holes(self) -> list[Gap]:
        """The gaps inside of what is known that nobody has asked for: what a backfill can mend."""
        return self.gaps(GapKind.NOT_FETCHED, GapPlace.INTERIOR)

    def _gap(self, row: int) -> Gap:
        return Gap(
            start=from_ms(int(self.start_ms[row])),
            end=from_ms(int(self.end_ms[row])),
            missing=int(self.missing[row]),
            kind=GapKind.NO_TRADES if self.answered[row] else GapKind.NOT_FETCHED,
            place=_PLACES[bool(self._leads[row]), bool(self._trails[row])],
        )

    def _is_at(self, place: GapPlace) -> np.ndarray:
        leads, trails = next(key for key, value in _PLACES.items() if value is place)
        here: np.ndarray = (self._leads == leads) & (self._trails == trails)
        return here

    @cached_property
    def _leads(self) -> np.ndarray:
        """Whether nothing is known before each gap."""
        if self.known_from_ms is None:
            return np.ones(len(self), dtype=bool)
        leads: np.ndarray = self.start_ms <= self.known_from_ms
        return leads

    @cached_property
    def _trails(self) -> np.ndarray:
        """Whether nothing is known after each gap."""
        if self.known_to_ms is None:
            return np.ones(len(self), dtype=bool)
        trails: np.ndarray = self.end_ms >= self.known_to_ms
        return trails


def find_gaps(
    timeframe: Timeframe,
    opened_ms: np.ndarray,
    coverage: Sequence[Interval],
    start: datetime,
    end: datetime,
    known: Interval | None = None,
) -> GapReport:
    """Report every opening time in `[start, end)` that has no candle.

    `opened_ms` are the opening times of the candles there are, rising, UTC
    milliseconds; those outside of the range are ignored. `coverage` is what was
    asked for and answered: an opening time inside has no trades if it has no
    candle. `known` spans what else the series holds outside of the range, so
    that a gap at the range's edge isn't taken for one at the series' edge.
    """
    first, stop = _ceil_ordinal(timeframe, start), _ceil_ordinal(timeframe, end)
    stop = max(first, stop)
    present = _ordinals(timeframe, opened_ms)
    present = present[slice(*np.searchsorted(present, [first, stop]))]
    present = present[np.diff(present, prepend=first - 1) > 0]

    edges = np.concatenate([[first - 1], present, [stop]])
    after = np.flatnonzero(np.diff(edges) > 1)
    starts, ends = edges[after] + 1, edges[after + 1]

    # Where coverage begins or ends inside of a gap, the gap is cut in two kinds.
    covered = _covered_ordinals(timeframe, coverage)
    gap_of = np.searchsorted(starts, covered, side="right") - 1
    inside = gap_of >= 0
    inside[inside] = (starts[gap_of[inside]] < covered[inside]) & (
        covered[inside] < ends[gap_of[inside]]
    )
    starts = np.sort(np.concatenate([starts, covered[inside]]))
    ends = np.sort(np.concatenate([ends, covered[inside]]))
    answered = np.searchsorted(covered, starts, side="right") % 2 == 1

    known_from, known_to = _known(timeframe, present, covered, known)
    return GapReport(
        timeframe=timeframe,
        start=start,
        end=end,
        expected=stop - first,
        present=len(present),
        start_ms=_opening_ms(timeframe, starts),
        end_ms=_opening_ms(timeframe, ends),
        missing=ends - starts,
        answered=answered,
        known_from_ms=known_from,
        known_to_ms=known_to,
    )


def _known(
    timeframe: Timeframe, present: np.ndarray, covered: np.ndarray, known: Interval | None
) -> tuple[int | None, int | None]:
    """The first opening time that something is known of, and the end of the last."""
    bounds = [*present[:1].tolist(), *covered[:1].tolist()]
    ends = [*(present[-1:] + 1).tolist(), *covered[-1:].tolist()]
    if known is not None:
        bounds.append(_ceil_ordinal(timeframe, known.start))
        ends.append(_ceil_ordinal(timeframe, known.end))
    if not bounds:
        return None, None
    both = _opening_ms(timeframe, np.array([min(bounds), max(ends)]))
    return int(both[0]), int(both[1])


def _covered_ordinals(timeframe: Timeframe, coverage: Sequence[Interval]) -> np.ndarray:
    """Coverage as ordinals start, end, start, end…: rising, none empty."""
    pairs = [
        (_ceil_ordinal(timeframe, span.start), _ceil_ordinal(timeframe, span.end))
        for span in union(coverage)
    ]
    flat = np.array(
        [bound for pair in pairs if pair[0] < pair[1] for bound in pair], dtype=np.int64
    )
    # Spans that leave no opening time between them are one span.
    touching = np.flatnonzero(flat[1:-1:2] == flat[2::2]) if len(flat) > 2 else np.array([], int)
    return np.delete(flat, np.concatenate([2 * touching + 1, 2 * touching + 2]))


def _ordinals(timeframe: Timeframe, opened_ms: np.ndarray) -> np.ndarray:
    """Number opening times so that neighbours differ by one."""
    floored = timeframe.floor_ms(np.asarray(opened_ms, dtype=np.int64))
    if timeframe.is_calendar:
        months: np.ndarray = floored.astype("datetime64[ms]").astype("datetime64[M]")
        return months.astype(np.int64)
    return (floored - _origin_ms(timeframe)) // timeframe.duration_ms


def _opening_ms(timeframe: Timeframe, ordinals: np.ndarray) -> np.ndarray:
    """Turn `_ordinals` back into opening times."""
    if timeframe.is_calendar:
        months: np.ndarray = ordinals.astype("datetime64[M]").astype("datetime64[ms]")
        return months.astype(np.int64)
    return ordinals * timeframe.duration_ms + _origin_ms(timeframe)


def _origin_ms(timeframe: Timeframe) -> int:
    return int(timeframe.floor_ms(np.zeros(1, dtype=np.int64))[0])


def _ceil_ordinal(timeframe: Timeframe, moment: datetime) -> int:
    return int(_ordinals(timeframe, np.array([to_ms(timeframe.ceil(moment))]))[0])
