"""Segments: the sorted Parquet files that together hold one series."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finsight.adapters.filesystems import Folder
from finsight.domain.candle_table import SCHEMA, CandleTable
from finsight.domain.errors import StoreUnavailable
from finsight.domain.timeframe import Timeframe

ALL_TIME = "all"
MAX_TAILS = 16
"""How many small segments may wait beside a part's base before they are merged."""

_ROWS_PER_GROUP = 65_536  # about 45 days of minutes: what a short range has to decode
_NAME = re.compile(r"(all|-?\d+)\.(\d{9})\.(-?\d+)_(-?\d+)\.(\d+)\.([0-9a-f]{8})\.parquet")


@dataclass(frozen=True, order=True)
class Segment:
    """What a segment's file name tells, so that nobody opens a file in vain.

    Of two segments that hold the same opening time, the one with the higher
    `sequence` is right.

    Units: `first_ms` and `last_ms` are opening times, UTC milliseconds, both held.
    """

    sequence: int
    part: str
    first_ms: int
    last_ms: int
    rows: int
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def name(self) -> str:
        return (
            f"{self.part}.{self.sequence:09d}.{self.first_ms}_{self.last_ms}"
            f".{self.rows}.{self.mark}.parquet"
        )

    def overlaps(self, start_ms: int, end_ms: int) -> bool:
        """Whether it spans any moment of `[start_ms, end_ms)`."""
        return self.first_ms < end_ms and self.last_ms >= start_ms

    @classmethod
    def of(cls, candles: CandleTable, part: str, sequence: int) -> Segment:
        ts = candles.ts_ms
        return cls(sequence, part, int(ts[0]), int(ts[-1]), len(ts))


def segments_among(names: Sequence[str]) -> list[Segment]:
    """Return the segments that these file names tell of, oldest write first; others are ignored."""
    found = [match for name in names if (match := _NAME.fullmatch(name))]
    return sorted(
        Segment(int(sequence), part, int(first), int(last), int(rows), mark)
        for part, sequence, first, last, rows, mark in (match.groups() for match in found)
    )


def by_part(candles: CandleTable, timeframe: Timeframe) -> dict[str, CandleTable]:
    """Split candles into the parts that are kept and merged apart.

    Years for candles shorter than an hour; one part for ever for the others: a
    lifetime of hours is smaller than a year of minutes.
    """
    if not len(candles):
        return {}
    if timeframe.duration_ms >= Timeframe.H1.duration_ms:
        return {ALL_TIME: candles}
    years = candles.ts_ms.astype("datetime64[ms]").astype("datetime64[Y]")
    starts = np.flatnonzero(np.diff(years, prepend=years[0] - 1))
    ends = np.append(starts[1:], len(years))
    return {
        str(years[low]): CandleTable(candles.arrow.slice(low, high - low))
        for low, high in zip(starts.tolist(), ends.tolist(), strict=True)
    }


def due_for_merging(segments: Sequence[Segment]) -> list[Segment]:
    """Choose which segments of one part to merge into one now, if any.

    The oldest write is the base; the others are tails. Tails wait until there
    are `MAX_TAILS`. They are then merged into one tail, or with the base as soon
    as they weigh a quarter of it: so a base is rewritten a few times a year, and
    a part never holds more than a base and `MAX_TAILS` files. The chosen are
    always neighbours in `sequence`, without which newer would not stay newer.
    """
    base, *tails = segments
    if len(tails) < MAX_TAILS:
        return []
    if 4 * sum(tail.rows for tail in tails) >= base.rows:
        return [base, *tails]
    return tails


def merged(inputs: Sequence[Segment], candles: CandleTable) -> Segment:
    """Name the segment that takes the place of `inputs`.

    It takes the newest input's sequence: what is written meanwhile stays newer,
    and an input that a crash left behind holds the same candles.
    """
    newest = inputs[-1]
    return Segment.of(candles, newest.part, newest.sequence)


def encode(candles: CandleTable) -> bytes:
    """Turn candles into one Parquet file: zstd, small row groups, statistics on `ts`."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        candles.arrow,
        sink,
        row_group_size=_ROWS_PER_GROUP,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        # Prices hardly repeat, but their leading bytes do: split, they compress and read faster.
        column_encoding={
            name: "DELTA_BINARY_PACKED" if name == "ts" else "BYTE_STREAM_SPLIT"
            for name in SCHEMA.names
        },
        write_statistics=["ts"],
        sorting_columns=[pq.SortingColumn(0)],
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read_segment(
    folder: Folder, path: str, start_ms: int, end_ms: int, columns: Sequence[str] | None = None
) -> CandleTable:
    """Read the rows with `start_ms <= ts < end_ms`, decoding only groups that may hold some.

    With `columns`, which must name `ts`, the table has no others.

    Raises:
        MissingFile: it was merged away since it was listed.
        StoreUnavailable: the storage failed, or the file is damaged.
    """
    if start_ms >= end_ms:
        return CandleTable.empty()
    try:
        with folder.open(path) as source, pq.ParquetFile(source, pre_buffer=True) as file:
            metadata = file.metadata
            groups = [
                group
                for group in range(metadata.num_row_groups)
                if _may_hold(metadata.row_group(group), start_ms, end_ms)
            ]
            table = file.read_row_groups(groups, columns=columns)
    except pa.ArrowInvalid as exc:
        raise StoreUnavailable(
            f"the candle file {folder.address}/{path} is damaged: {exc}"
        ) from exc
    ts = table.column("ts").cast(pa.int64()).to_numpy()
    low, high = (int(row) for row in np.searchsorted(ts, [start_ms, end_ms]))
    return CandleTable(table.slice(low, high - low))


def _may_hold(group: pq.RowGroupMetaData, start_ms: int, end_ms: int) -> bool:
    statistics = group.column(0).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min_raw < end_ms and statistics.max_raw >= start_ms)
