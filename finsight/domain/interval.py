"""Spans of time, and arithmetic on sets of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from finsight.domain.timeframe import UtcDatetime


class Interval(NamedTuple):
    """The moments from `start` up to, not including, `end`. Both in UTC."""

    start: UtcDatetime
    end: UtcDatetime


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same moments as few intervals: sorted, apart, none empty."""
    merged: list[Interval] = []
    for start, end in sorted(i for i in intervals if i.start < i.end):
        if merged and start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].end, end))
        else:
            merged.append(Interval(start, end))
    return merged


def subtract(wanted: Iterable[Interval], had: Iterable[Interval]) -> list[Interval]:
    """Return the moments of `wanted` that are not in `had`: sorted, apart, none empty."""
    holes = union(had)
    left: list[Interval] = []
    for start, end in union(wanted):
        for hole in holes:
            if hole.end <= start:
                continue
            if hole.start >= end:
                break
            if hole.start > start:
                left.append(Interval(start, hole.start))
            start = hole.end
        if start < end:
            left.append(Interval(start, end))
    return left
