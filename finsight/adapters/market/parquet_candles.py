"""Candles in a few sorted Parquet files per series, in a folder or a bucket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from finsight.adapters.filesystems import Folder, MissingFile
from finsight.adapters.market.parquet_segments import (
    Segment,
    by_part,
    due_for_merging,
    encode,
    merged,
    read_segment,
    segments_among,
)
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable, merge_all
from finsight.domain.errors import InvalidInput, StoreUnavailable
from finsight.domain.interval import Interval, union
from finsight.domain.timeframe import Timeframe, from_ms, to_ms
from finsight.ports.market import SeriesSummary

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

_COVERAGE = "coverage.json"
_EVER = (-(2**62), 2**62)
_ATTEMPTS = 50
# "1m" and "1M" are one name to the file systems of macOS and Windows.
_MONTH_FOLDER = "1month"


class ParquetCandleStore:
    """Implements `ports.market.CandleStore` on Parquet files, local or in a bucket.

    A series is a folder, `binance/BTC-USDT/1m`, of *segments*: sorted Parquet
    files that are written once and never changed. An upsert adds a small one;
    where two hold the same candle, the later written is right. When many small
    ones have gathered they are merged: the merged file is written first, its
    inputs are deleted after. So a crash at any moment leaves every candle that
    was acknowledged, and whatever is there twice reads as one.

    Readers take no lock. One that meets a file that was merged away lists the
    folder again. Writers on one machine wait for each other, series by series;
    a series in a bucket should have its writers on one machine.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._swept: set[str] = set()

    async def upsert(
        self, series: Series, candles: CandleTable, covered: Sequence[Interval] = ()
    ) -> None:
        await asyncio.to_thread(self._upsert, series, candles, covered)

    async def read(self, series: Series, start: datetime, end: datetime) -> CandleTable:
        return await asyncio.to_thread(self._read, _path(series), to_ms(start), to_ms(end))

    async def coverage(self, series: Series) -> list[Interval]:
        return await asyncio.to_thread(self._coverage, _path(series))

    async def summary(self, series: Series) -> SeriesSummary:
        return await asyncio.to_thread(self._summary, series)

    async def list_series(self) -> list[Series]:
        return await asyncio.to_thread(self._list_series)

    def _upsert(self, series: Series, candles: CandleTable, covered: Sequence[Interval]) -> None:
        path = _path(series)
        with self._folder.lock(path):
            if path not in self._swept:
                self._folder.sweep(path)
                self._swept.add(path)
            parts = by_part(candles, series.timeframe)
            if parts:
                sequence = 1 + max((s.sequence for s in self._segments(path)), default=0)
                for part, rows in parts.items():
                    self._write(path, Segment.of(rows, part, sequence), rows)
            if covered:
                # After the candles: a coverage without them would read as "nobody traded".
                self._remember(path, covered)
            try:
                self._merge_where_due(path)
            except StoreUnavailable as exc:
                # The candles are stored; the next upsert tries to merge again.
                log.warning("merging the files of %s was put off: %s", series, exc)

    def _read(self, path: str, start_ms: int, end_ms: int) -> CandleTable:
        def read_once() -> CandleTable:
            return merge_all(self._tables(path, self._segments(path), start_ms, end_ms))

        return self._retried(path, read_once)

    def _summary(self, series: Series) -> SeriesSummary:
        path = _path(series)

        def count_once() -> SeriesSummary:
            segments = self._segments(path)
            if not segments:
                return SeriesSummary(series, 0, None, None)
            return SeriesSummary(
                series,
                sum(self._rows_of(path, group) for group in _overlapping(segments)),
                from_ms(min(segment.first_ms for segment in segments)),
                from_ms(max(segment.last_ms for segment in segments)),
            )

        return self._retried(path, count_once)

    def _rows_of(self, path: str, group: list[Segment]) -> int:
        """How many candles segments hold together; only where they overlap are times read."""
        rows = sum(segment.rows for segment in group)
        if len(group) == 1:
            return rows
        second_first = sorted(segment.first_ms for segment in group)[1]
        last_but_one = sorted(segment.last_ms for segment in group)[-2]
        shared = self._tables(path, group, second_first, last_but_one + 1, ["ts"])
        return rows - sum(map(len, shared)) + len(merge_all(shared))

    def _list_series(self) -> list[Series]:
        files: dict[str, list[str]] = defaultdict(list)
        for file in self._folder.walk():
            path, _, name = file.rpartition("/")
            files[path].append(name)
        found = (
            _series_at(path)
            for path, names in files.items()
            if _COVERAGE in names or segments_among(names)
        )
        return sorted((series for series in found if series), key=lambda series: series.key)

    def _segments(self, path: str) -> list[Segment]:
        return segments_among(self._folder.names(path))

    def _write(self, path: str, segment: Segment, candles: CandleTable) -> None:
        self._folder.replace(f"{path}/{segment.name}", encode(candles))

    def _tables(
        self,
        path: str,
        segments: Sequence[Segment],
        start_ms: int,
        end_ms: int,
        columns: Sequence[str] | None = None,
    ) -> list[CandleTable]:
        return [
            read_segment(self._folder, f"{path}/{segment.name}", start_ms, end_ms, columns)
            for segment in segments
            if segment.overlaps(start_ms, end_ms)
        ]

    def _merge_where_due(self, path: str) -> None:
        parts: dict[str, list[Segment]] = defaultdict(list)
        for segment in self._segments(path):
            parts[segment.part].append(segment)
        for segments in parts.values():
            inputs = due_for_merging(segments)
            if inputs:
                candles = merge_all(self._tables(path, inputs, *_EVER))
                self._write(path, merged(inputs, candles), candles)
                for segment in inputs:
                    self._folder.delete(f"{path}/{segment.name}")

    def _coverage(self, path: str) -> list[Interval]:
        try:
            content = self._folder.read(f"{path}/{_COVERAGE}")
        except MissingFile:
            return []
        try:
            return [
                Interval(datetime.fromisoformat(start), datetime.fromisoformat(end))
                for start, end in json.loads(content)["covered"]
            ]
        except (ValueError, KeyError, TypeError) as exc:
            raise StoreUnavailable(
                f"{self._folder.address}/{path}/{_COVERAGE} is damaged ({exc}); "
                "delete it, and what it covered will be asked for again"
            ) from exc

    def _remember(self, path: str, covered: Sequence[Interval]) -> None:
        before = self._coverage(path)
        after = union([*before, *covered])
        if after != before:
            spans = [[start.isoformat(), end.isoformat()] for start, end in after]
            content = json.dumps({"version": 1, "covered": spans}, indent=1)
            self._folder.replace(f"{path}/{_COVERAGE}", content.encode())

    def _retried(self, path: str, attempt: Callable[[], Answer]) -> Answer:
        for _ in range(_ATTEMPTS):
            try:
                return attempt()
            except MissingFile as exc:
                missing = exc
        raise StoreUnavailable(
            f"the files of {path} changed {_ATTEMPTS} times while they were read"
        ) from missing


def _path(series: Series) -> str:
    timeframe = _MONTH_FOLDER if series.timeframe is Timeframe.MONTH else series.timeframe.value
    return f"{series.exchange}/{series.folder_symbol}/{timeframe}"


def _series_at(path: str) -> Series | None:
    parts = path.split("/")
    if len(parts) == 3 and parts[2] == _MONTH_FOLDER:
        parts[2] = Timeframe.MONTH.value
    try:
        return Series.from_key(":".join(parts))
    except InvalidInput:
        return None


def _overlapping(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Group segments so that those of different groups share no moment."""
    groups: list[list[Segment]] = []
    reach = _EVER[0]
    for segment in sorted(segments, key=lambda s: s.first_ms):
        if not groups or segment.first_ms > reach:
            groups.append([])
        groups[-1].append(segment)
        reach = max(reach, segment.last_ms)
    return groups
