"""Windows made by Ray Data: one block a segment, so that memory is bounded by one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from finsight.domain.errors import InvalidInput
from finsight.domain.forecast_windows import Examples, Segment, WindowShape, make_examples
from finsight.domain.known_features import FEATURES

_ROWS = "rows"  # of the whole segment: a block that holds less of it is noticed


def windows_over_ray(segments: Sequence[Segment], shape: WindowShape) -> Any:
    """Return a Ray dataset of the windows of `segments`, not made yet.

    `collect_windows` turns it into the same examples, in the same order, as
    `make_examples` over the segments one by one.
    """
    # Who runs this sees its own progress; Ray's bars would bury it.
    ray.data.DataContext.get_current().enable_progress_bars = False
    tables = [_segment_table(number, segment) for number, segment in enumerate(segments)]
    return ray.data.from_arrow(tables).map_batches(
        partial(_make_windows, shape=shape), batch_format="pyarrow", batch_size=None
    )


def collect_windows(blocks: Iterable[pa.Table], shape: WindowShape) -> list[Examples]:
    """Return the examples of a dataset's blocks, in the order of their segments."""
    by_number: dict[int, list[pa.Table]] = {}
    for block in blocks:
        numbers = block.column("segment").to_numpy()
        for number in np.unique(numbers):
            by_number.setdefault(int(number), []).append(block.filter(numbers == number))
    return [_examples(pa.concat_tables(by_number[one]), shape) for one in sorted(by_number)]


def _segment_table(number: int, segment: Segment) -> pa.Table:
    rows = len(segment.values)
    columns: dict[str, Any] = {
        "segment": np.full(rows, number, np.int32),
        _ROWS: np.full(rows, rows, np.int32),
        "ts_ms": segment.ts_ms,
        "value": segment.values,
        "mean": np.full(rows, segment.series[0]),
        "deviation": np.full(rows, segment.series[1]),
    }
    if segment.known is not None:
        columns |= dict(zip(FEATURES, segment.known.T, strict=True))
    return pa.table(columns)


def _make_windows(batch: pa.Table, shape: WindowShape) -> pa.Table:
    """Windows of every segment in `batch`; also where Ray put several into one."""
    numbers = batch.column("segment").to_numpy()
    made = []
    for number in np.unique(numbers):
        table = batch.filter(numbers == number)
        if len(table) != table.column(_ROWS)[0].as_py():
            raise InvalidInput(
                f"segment {number} came in pieces: {len(table)} of {table.column(_ROWS)[0]} rows; "
                "windows over the cut would be lost"
            )
        made.append(_window_table(int(number), make_examples(_segment(table), shape)))
    return pa.concat_tables(made)


def _segment(table: pa.Table) -> Segment:
    known = None
    if FEATURES[0] in table.column_names:
        known = np.stack([table.column(name).to_numpy() for name in FEATURES], axis=-1)
    series = table.column("mean")[0].as_py(), table.column("deviation")[0].as_py()
    ts_ms, values = table.column("ts_ms").to_numpy(), table.column("value").to_numpy()
    return Segment("", ts_ms, values, series, known)


def _window_table(number: int, examples: Examples) -> pa.Table:
    return pa.table(
        {
            "segment": np.full(len(examples), number, np.int32),
            "part": examples.part,
            "weight": examples.weight[:, 0],
            "seen": _lists(examples.seen),
            "known": _lists(examples.known.reshape(len(examples), -1)),
            "targets": _lists(examples.targets),
        }
    )


def _lists(rows: np.ndarray) -> Any:
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


def _examples(table: pa.Table, shape: WindowShape) -> Examples:
    rows = len(table)

    def floats(name: str, *sizes: int) -> np.ndarray:
        flat = table.column(name).combine_chunks().flatten().to_numpy()
        # Ray's buffers are read-only, and torch wants its own.
        return np.array(flat, np.float32).reshape(rows, *sizes)

    features = 0 if shape.known_scale is None else len(FEATURES)
    return Examples(
        seen=floats("seen", shape.input_size),
        known=floats("known", shape.input_size if features else 0, features),
        targets=floats("targets", shape.horizon),
        weight=table.column("weight").to_numpy()[:, None].astype(np.float32),
        part=table.column("part").to_numpy(),
    )
