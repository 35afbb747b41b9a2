"""What a forecaster sees of a window: made here alone, for training and for serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from finsight.domain.fitted_scale import FittedScale
from finsight.domain.forecaster_recipe import Target
from finsight.domain.history import History
from finsight.domain.known_features import FEATURES
from finsight.domain.time_splits import NEITHER, TimeSplits

_LEAST_VOLATILITY = 1e-6  # of log returns: a price that never moved must not divide by zero
_LEAST_SHARE = 0.003  # of a series' own deviation: a window that never moved must not either
SEGMENT_WINDOWS = 4096
"""Windows made at once: what bounds the memory of making them."""


@dataclass(frozen=True)
class ScaledWindows:
    """Windows as a network sees them, and what turns its answers back.

    Shapes: `seen` (windows, input_size), float32; `centre` and `unit` (windows, 1). An
    answer a stands for `centre + unit * a`, a log price or a value.
    """

    seen: np.ndarray
    centre: np.ndarray
    unit: np.ndarray


def scale_windows(
    values: np.ndarray,
    horizon: int,
    target: Target = Target.LOG_RETURN,
    instance_norm: bool = False,
    series: np.ndarray | None = None,
) -> ScaledWindows:
    """Turn windows of values into what the model sees: the one function for training and serving.

    `values` has shape (windows, input_size). Log returns are counted from each window's last
    close, in units of how far the price typically wanders over the horizon, or, with
    `instance_norm`, of how far it did within the window. Values are counted from the window's
    mean in its own deviations with `instance_norm` (RevIN), else by `series`: each window's
    mean and deviation over the training part, shape (windows, 2).
    """
    if target is Target.LOG_RETURN:
        logs = np.log(values)
        centre = logs[:, -1:]
        if instance_norm:
            unit = np.maximum(logs.std(axis=1, keepdims=True), _LEAST_VOLATILITY)
        else:
            volatility = np.diff(logs, axis=1).std(axis=1, keepdims=True)
            unit = np.maximum(volatility, _LEAST_VOLATILITY) * np.sqrt(horizon)
        return ScaledWindows(((logs - centre) / unit).astype(np.float32), centre, unit)
    if instance_norm or series is None:
        centre = values.mean(axis=1, keepdims=True)
        deviation = values.std(axis=1, keepdims=True)
        least = 1e-9 if series is None else _LEAST_SHARE * series[:, 1:]
        unit = np.sqrt(deviation**2 + least**2)
    else:
        centre, unit = series[:, :1], series[:, 1:]
    return ScaledWindows(((values - centre) / unit).astype(np.float32), centre, unit)


def known_columns(known: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return all `FEATURES` side by side, shape (rows, features): counts by their logarithm."""
    columns = []
    for name in FEATURES:
        values = np.asarray(known[name], np.float64)
        columns.append(values if name == "sentiment" else np.log1p(values))
    return np.stack(columns, axis=-1)


def scale_known(columns: np.ndarray, scale: FittedScale, training_ends_ms: int) -> np.ndarray:
    """Return windows of `known_columns`, shape (windows, input_size, features), as float32.

    The volume of each window is taken against its own mean: coins trade in other amounts.
    Raises: LookedAhead (the scale was fitted on more than the training part).
    """
    own = columns.copy()
    own[..., 0] -= own[..., 0].mean(axis=-1, keepdims=True)
    return scale.scale(own, training_ends_ms).astype(np.float32)


@dataclass(frozen=True)
class Segment:
    """A stretch of one series without a hole, of a bounded number of windows.

    `series` are its mean and deviation over the training part, `known` the rows of
    `known_columns`, or None.
    """

    key: str
    ts_ms: np.ndarray
    values: np.ndarray
    series: tuple[float, float]
    known: np.ndarray | None = None


@dataclass(frozen=True)
class Examples:
    """Windows of one part, as they are learnt from and measured on.

    Shapes: seen (n, input_size), known (n, input_size, features) or (n, 0, 0), targets
    (n, horizon), all float32; weight (n, 1): what turns an error into log returns or, for
    values, into deviations of the series; part (n,): of `time_splits`.
    """

    seen: np.ndarray
    known: np.ndarray
    targets: np.ndarray
    weight: np.ndarray
    part: np.ndarray

    def __len__(self) -> int:
        return len(self.seen)

    def of(self, part: int) -> Examples:
        """Return those of one part, in their order."""
        return self.at(self.part == part)

    def at(self, rows: np.ndarray) -> Examples:
        """Return some of them: `rows` are their numbers, or which to take."""
        return Examples(
            self.seen[rows],
            self.known[rows],
            self.targets[rows],
            self.weight[rows],
            self.part[rows],
        )


def join_examples(blocks: Sequence[Examples]) -> Examples:
    """Return all blocks as one, in the order given; at least one must be given."""
    return Examples(
        np.concatenate([block.seen for block in blocks]),
        np.concatenate([block.known for block in blocks]),
        np.concatenate([block.targets for block in blocks]),
        np.concatenate([block.weight for block in blocks]),
        np.concatenate([block.part for block in blocks]),
    )


@dataclass(frozen=True)
class WindowShape:
    """What decides how examples are made: plain values, so that it crosses processes."""

    input_size: int
    horizon: int
    target: Target
    instance_norm: bool
    splits: TimeSplits
    known_scale: FittedScale | None = None


def cut_segments(
    key: str, history: History, shape: WindowShape, series: tuple[float, float]
) -> list[Segment]:
    """Return the unbroken stretches of `history` that hold a window, cut to bounded sizes."""
    length = shape.input_size + shape.horizon
    known = None if shape.known_scale is None else known_columns(history.known)
    segments = []
    for start, stop in history.stretches():
        for first in range(start, stop - length + 1, SEGMENT_WINDOWS):
            rows = slice(first, min(first + SEGMENT_WINDOWS + length - 1, stop))
            segments.append(
                Segment(
                    key,
                    history.ts_ms[rows],
                    history.values[rows],
                    series,
                    None if known is None else known[rows],
                )
            )
    return segments


def make_examples(segment: Segment, shape: WindowShape) -> Examples:
    """Return the windows of `segment` that belong to a part, oldest first."""
    size, length = shape.input_size, shape.input_size + shape.horizon
    first_ms = segment.ts_ms[size : len(segment.ts_ms) - shape.horizon + 1]
    last_ms = segment.ts_ms[length - 1 :]
    part = shape.splits.parts(first_ms, last_ms)
    rows = np.flatnonzero(part != NEITHER)
    windows = sliding_window_view(segment.values, length)[rows]
    series = np.broadcast_to(np.array(segment.series), (len(rows), 2))
    scaled = scale_windows(
        windows[:, :size], shape.horizon, shape.target, shape.instance_norm, series
    )
    future = windows[:, size:]
    levels = np.log(future) if shape.target is Target.LOG_RETURN else future
    known = np.empty((len(rows), 0, 0), np.float32)
    if shape.known_scale is not None and segment.known is not None:
        looked_back = sliding_window_view(segment.known, size, axis=0)[rows].transpose(0, 2, 1)
        known = scale_known(looked_back, shape.known_scale, shape.splits.valid_from_ms)
    per_series = 1.0 if shape.target is Target.LOG_RETURN else series[:, 1:]
    return Examples(
        scaled.seen,
        known,
        ((levels - scaled.centre) / scaled.unit).astype(np.float32),
        (scaled.unit / per_series).astype(np.float32),
        part[rows],
    )
