"""What the candle files look like after a crash, wherever it strikes."""

import asyncio
import errno
import multiprocessing
import os
import random
import signal
import threading
from contextlib import suppress
from datetime import UTC, datetime
from itertools import accumulate
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from finsight.adapters.filesystems import LocalFolder, open_folder
from finsight.adapters.market import parquet_segments
from finsight.adapters.market.parquet_candles import ParquetCandleStore
from finsight.domain.candle_table import CandleTable, merge
from finsight.domain.errors import Misconfigured, StoreUnavailable
from finsight.domain.interval import Interval
from tests.builders import BTC_HOURLY, HOUR, NOON, a_walk, candles_at

EVER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
SERIES_FOLDER = "binance/BTC-USDT/1h"


class Crash(BaseException):
    """The process is gone: nothing may catch this."""


class DyingFolder(LocalFolder):
    """A folder whose process dies just before, or just after, its n-th write or delete."""

    def __init__(self, root: Path, dies_at: int, after: bool) -> None:
        super().__init__(root)
        self._left, self._after = dies_at, after

    def replace(self, name: str, content: bytes) -> None:
        with self._dying():
            super().replace(name, content)

    def delete(self, name: str) -> None:
        with self._dying():
            super().delete(name)

    def _dying(self) -> Any:
        return _Dying(self)


class _Dying:
    def __init__(self, folder: DyingFolder) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._folder._left -= 1
        if self._folder._left == 0 and not self._folder._after:
            raise Crash

    def __exit__(self, *_: object) -> None:
        if self._folder._left == 0 and self._folder._after:
            raise Crash


@pytest.fixture
def merging_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_segments, "MAX_TAILS", 3)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_write_or_delete_loses_nothing_acknowledged(
    tmp_path: Path, merging_often: None, after: bool
) -> None:
    # A large first page, so that small ones are merged among themselves and then with it.
    # Each page changes what the pages before it said of three candles.
    pages = [_page(a_walk(40), 0, 40)]
    for row in range(40, 52, 2):
        pages.append(_page(a_walk(row + 2, seed=row), row - 3, row + 2))
    states = [CandleTable.empty(), *accumulate((candles for candles, _ in pages), merge)]
    crashes = 0
    for dies_at in range(1, 200):
        folder = tmp_path / str(dies_at)
        store = ParquetCandleStore(DyingFolder(folder, dies_at, after))
        acknowledged, written = 0, 0
        try:
            for number, page in enumerate(pages, start=1):
                written = number
                await store.upsert(BTC_HOURLY, *page)
                acknowledged = number
        except Crash:
            crashes += 1

        survivor = ParquetCandleStore(LocalFolder(folder))
        found = await survivor.read(BTC_HOURLY, *EVER)
        assert found in (states[acknowledged], states[written])
        assert (await survivor.summary(BTC_HOURLY)).candles == len(found)
        coverage = await survivor.coverage(BTC_HOURLY)
        _coverage_has_its_candles(coverage, len(states[acknowledged]), len(found))

        # The collector asks again from what it knows was stored.
        for page in pages[acknowledged:]:
            await survivor.upsert(BTC_HOURLY, *page)
        assert await survivor.read(BTC_HOURLY, *EVER) == states[-1]
        assert await survivor.coverage(BTC_HOURLY) == [Interval(NOON, NOON + 52 * HOUR)]
        if acknowledged == len(pages):
            break
    assert crashes > 20


async def test_a_killed_writer_loses_nothing_and_readers_notice_nothing(tmp_path: Path) -> None:
    """A real process, killed again and again in the middle of upserts and merges."""
    walk, rng = a_walk(4_000), random.Random(7)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    store, known, stop = ParquetCandleStore(open_folder(str(tmp_path))), [0], threading.Event()
    reader = _Reader(tmp_path, walk, known, stop)
    reader.start()
    for _ in range(12):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_write_on, args=(str(tmp_path), known[0], sender))
        child.start()
        sender.close()
        upserts_left = rng.randint(1, 8)
        with suppress(EOFError):
            while upserts_left and receiver.poll(60):
                known[0] = receiver.recv()
                upserts_left -= 1
        # Somewhere within the next upsert, which takes a few milliseconds.
        child.join(rng.uniform(0, 0.01))
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        with suppress(EOFError):
            while receiver.poll():
                known[0] = receiver.recv()
        found = await store.read(BTC_HOURLY, *EVER)
        assert len(found) >= known[0] > 0
        assert found == _first(walk, len(found))
    stop.set()
    reader.join()
    assert reader.failure is None
    assert reader.reads > 0
    assert (await store.summary(BTC_HOURLY)).candles == len(found)
    _coverage_has_its_candles(await store.coverage(BTC_HOURLY), known[0], len(found))
    await store.upsert(BTC_HOURLY, *_page(walk, 0, 2))
    names = [path.name for path in (tmp_path / SERIES_FOLDER).iterdir()]
    assert not [name for name in names if name.endswith(".unfinished")]
    assert len(names) < 10


def _write_on(folder: str, row: int, acknowledge: Connection) -> None:
    """The writer's process: two candles at a time for ever, merging after every third."""
    parquet_segments.MAX_TAILS = 3
    walk, store = a_walk(4_000), ParquetCandleStore(open_folder(folder))

    async def write() -> None:
        for at in range(row, len(walk), 2):
            await store.upsert(BTC_HOURLY, *_page(walk, at, at + 2))
            acknowledge.send(at + 2)

    asyncio.run(write())


class _Reader(threading.Thread):
    """Reads all the time; what was acknowledged before a read began must be in it."""

    def __init__(
        self, folder: Path, walk: CandleTable, known: list[int], stop: threading.Event
    ) -> None:
        super().__init__()
        self._store = ParquetCandleStore(open_folder(str(folder)))
        self._walk, self._known, self._stop_reading = walk, known, stop
        self.reads = 0
        self.failure: str | None = None

    def run(self) -> None:
        async def read() -> None:
            while not self._stop_reading.wait(0.002) and self.failure is None:
                acknowledged = self._known[0]
                try:
                    found = await self._store.read(BTC_HOURLY, *EVER)
                except StoreUnavailable as exc:
                    self.failure = str(exc)
                    return
                if len(found) < acknowledged or found != _first(self._walk, len(found)):
                    self.failure = f"{len(found)} candles where {acknowledged} were stored"
                self.reads += 1

        asyncio.run(read())


async def test_what_a_killed_writer_left_unfinished_is_swept_away(tmp_path: Path) -> None:
    series_folder = tmp_path / SERIES_FOLDER
    series_folder.mkdir(parents=True)
    left = series_folder / ".0123456789abcdef.unfinished"
    left.write_bytes(b"PAR1 half a file")
    store = ParquetCandleStore(open_folder(str(tmp_path)))
    assert await store.list_series() == []
    await store.upsert(BTC_HOURLY, candles_at(NOON))
    assert not left.exists()


async def test_a_full_disk_is_said_plainly_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ParquetCandleStore(open_folder(str(tmp_path)))
    await store.upsert(BTC_HOURLY, candles_at(NOON))

    def no_space_left(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "fsync", no_space_left)
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            await store.upsert(BTC_HOURLY, candles_at(NOON + HOUR))
    assert await store.read(BTC_HOURLY, *EVER) == candles_at(NOON)
    assert not _files(tmp_path, "*.unfinished")


async def test_merging_that_fails_does_not_fail_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merging_often: None
) -> None:
    store = ParquetCandleStore(open_folder(str(tmp_path)))

    def no_merging(segments: object) -> None:
        raise StoreUnavailable("no space to merge")

    monkeypatch.setattr("finsight.adapters.market.parquet_candles.due_for_merging", no_merging)
    await store.upsert(BTC_HOURLY, candles_at(NOON), [Interval(NOON, NOON + HOUR)])
    assert await store.read(BTC_HOURLY, *EVER) == candles_at(NOON)
    assert await store.coverage(BTC_HOURLY) == [Interval(NOON, NOON + HOUR)]


async def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = ParquetCandleStore(open_folder(str(tmp_path)))
    await store.upsert(BTC_HOURLY, candles_at(NOON), [Interval(NOON, NOON + HOUR)])
    [segment] = _files(tmp_path, "*.parquet")
    segment.write_bytes(b"not a parquet file, whatever its name says")
    with pytest.raises(StoreUnavailable, match=segment.name):
        await store.read(BTC_HOURLY, *EVER)
    (tmp_path / SERIES_FOLDER / "coverage.json").write_text("{")
    with pytest.raises(StoreUnavailable, match=r"coverage\.json"):
        await store.coverage(BTC_HOURLY)


async def test_a_bucket_that_does_not_answer_is_an_unavailable_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    store = ParquetCandleStore(open_folder("s3://nowhere/candles"))
    with pytest.raises(StoreUnavailable, match="s3://nowhere/candles"):
        await store.read(BTC_HOURLY, *EVER)


@pytest.mark.parametrize("address", ["ftp://host/folder", "s3://"])
def test_an_address_that_is_no_place_for_files_is_refused(address: str) -> None:
    with pytest.raises(Misconfigured, match="expected a folder or s3://bucket/prefix"):
        open_folder(address)


def _page(walk: CandleTable, start: int, end: int) -> tuple[CandleTable, list[Interval]]:
    page = CandleTable(walk.arrow.slice(start, end - start))
    return page, [Interval(NOON + start * HOUR, NOON + end * HOUR)]


def _first(walk: CandleTable, rows: int) -> CandleTable:
    return CandleTable(walk.arrow.slice(0, rows))


def _coverage_has_its_candles(coverage: list[Interval], acknowledged: int, found: int) -> None:
    if acknowledged:
        assert len(coverage) == 1
        assert coverage[0].start == NOON
    end = coverage[0].end if coverage else NOON
    assert NOON + acknowledged * HOUR <= end <= NOON + found * HOUR


def _files(folder: Path, pattern: str) -> list[Path]:
    return list(folder.rglob(pattern))
