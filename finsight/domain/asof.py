"""Joins by what was known: at each moment, only what the platform knew by then."""

from __future__ import annotations

import numpy as np


def as_of(left_times_ms: np.ndarray, known_at_ms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return, for each left time, the last value known at or before it.

    `known_at_ms[i]` is when `values[i]` became known; the two may be in any order.
    Of values known at the same moment the last one given wins. NaN where nothing
    was known yet.

    Units:
        left_times_ms, known_at_ms: UTC milliseconds, int64.
    """
    known_at_ms, values = _in_order(known_at_ms, values)
    last = np.searchsorted(known_at_ms, left_times_ms, side="right") - 1
    found = last >= 0
    result = np.full(np.shape(left_times_ms), np.nan)
    result[found] = values[last[found]]
    return result


def mean_known(
    left_times_ms: np.ndarray, known_at_ms: np.ndarray, values: np.ndarray, window_ms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of, and how many, values became known in `(left - window, left]`.

    Each value counts once, so a window with ten articles is the mean of ten. The
    mean is NaN where the window is empty, and the count 0.

    Units:
        left_times_ms, known_at_ms, window_ms: milliseconds.
    """
    known_at_ms, values = _in_order(known_at_ms, values)
    first = np.searchsorted(known_at_ms, left_times_ms - window_ms, side="right")
    stop = np.searchsorted(known_at_ms, left_times_ms, side="right")
    counts = stop - first
    # Sums up to a moment hold nothing of what came later, so the future can't leak in.
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means = np.full(np.shape(left_times_ms), np.nan)
    filled = counts > 0
    means[filled] = (sums[stop[filled]] - sums[first[filled]]) / counts[filled]
    return means, counts


def _in_order(known_at_ms: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(known_at_ms, kind="stable")
    return np.asarray(known_at_ms)[order], np.asarray(values, dtype=np.float64)[order]
