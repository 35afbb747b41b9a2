"""A sweep cut into blocks: in what order, kept where, taken up again how."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finsight.backtesting.parameter_sets import ParameterSets
from finsight.domain.backtest import Provenance
from finsight.domain.errors import InvalidInput, StoreUnavailable

BLOCK_SETS = 4_096
_BLOCKS_A_TASK = 64
ROW = "__row"
"""The column that says which set of the grid a row of a part is."""


class Progress(NamedTuple):
    """How far a sweep is. left_s is None before the first block is done."""

    done: int
    total: int
    sets_per_s: float
    left_s: float | None


def tiled(sets: ParameterSets, block_sets: int = BLOCK_SETS) -> list[np.ndarray]:
    """Cut the sets into blocks of rows that share indicators.

    In the grid's own order a block of two parameters would need one value of the first and
    every value of the second. A tile of neighbours needs few of both, and so little memory.
    """
    if block_sets < 1:
        raise InvalidInput(f"a block needs at least one parameter set, not {block_sets}")
    places = [np.unique(c, return_inverse=True)[1] for c in sets.columns.values()]
    varied = [place for place in places if place.size and place.max() > 0]
    if len(varied) < 2 or len(sets) <= block_sets:
        order = np.arange(len(sets))
    else:
        side = max(1, math.ceil(block_sets ** (1 / len(varied))))
        order = np.lexsort([place // side for place in reversed(varied)])
    return [order[low : low + block_sets] for low in range(0, len(order), block_sets)]


def shared_out(blocks: list[int], workers: int) -> list[list[int]]:
    """Deal the blocks out as tasks, large ones first.

    A task costs its worker a tenth of a second or two; small ones at the end let all workers
    end together. Each is four fifths of a worker's share of what is left (Polychronopoulos and
    Kuck 1987, "Guided Self-Scheduling"), but never so much that a lost worker repeats a lot.
    """
    tasks, start = [], 0
    while start < len(blocks):
        left = len(blocks) - start
        size = max(1, min(2, left // workers), min(_BLOCKS_A_TASK, 4 * left // (5 * workers)))
        tasks.append(blocks[start : start + size])
        start += size
    return tasks


def chosen(sets: ParameterSets, rows: np.ndarray) -> ParameterSets:
    """The sets of these rows."""
    return ParameterSets({name: column[rows] for name, column in sets.columns.items()}, 0)


@dataclass(frozen=True)
class Parts:
    """The folder that a sweep's blocks are kept in, a Parquet file each.

    A part is written beside its place and then renamed: it is there whole or not at all,
    whenever the process is killed.
    """

    folder: Path

    def open(self, request: dict[str, object], resume: bool) -> None:
        """Begin, or take up again, the sweep that `request` describes.

        Raises:
            InvalidInput: the folder holds another sweep, or this one and nobody said resume.
            StoreUnavailable: the folder can't be written.
        """
        manifest = self.folder / "sweep.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if manifest.exists():
                if not resume:
                    raise InvalidInput(
                        f"{self.folder} already holds a sweep: resume it, or name another folder"
                    )
                if json.loads(manifest.read_text()) != request:
                    raise InvalidInput(
                        f"{self.folder} holds another sweep (other candles, grid, rules or "
                        "engine); resume needs the same request"
                    )
            else:
                _write_whole(manifest, json.dumps(request, indent=1).encode())
        except OSError as exc:
            raise StoreUnavailable(f"{self.folder} can't be written: {exc}") from exc

    def done(self) -> set[int]:
        """The blocks that are there already."""
        return {int(path.stem.split("-")[1]) for path in self.folder.glob("part-*.parquet")}

    def keep(self, block: int, table: pa.Table) -> None:
        """Keep a block. Raises: StoreUnavailable."""
        path = self._path(block)
        try:
            beside = path.with_suffix(".writing")
            pq.write_table(table, beside, compression="zstd")
            beside.replace(path)
        except OSError as exc:
            raise StoreUnavailable(f"{path} can't be written: {exc}") from exc

    def read(self, block: int) -> pa.Table:
        """One block that is there."""
        return pq.read_table(self._path(block))

    def _path(self, block: int) -> Path:
        return self.folder / f"part-{block:06d}.parquet"


class Rows:
    """The rows of a whole sweep, each put where it belongs in the grid as its block comes.

    One copy of the rows is held, and none is moved at the end.
    """

    def __init__(self, sets: int) -> None:
        self._sets = sets
        self._columns: dict[str, np.ndarray] = {}
        self._errors: dict[int, str] = {}
        self._undefined: set[str] = set()

    def put(self, block: pa.Table) -> None:
        """Take the finished rows of one block; its column `ROW` says which they are."""
        rows = block.column(ROW).to_numpy()
        if "error" in block.column_names:
            said = block.column("error").to_pylist()
            self._errors |= {
                int(row): why for row, why in zip(rows, said, strict=True) if why is not None
            }
        for name in block.column_names:
            if name in (ROW, "error"):
                continue
            column = block.column(name)
            if column.null_count:
                self._undefined.add(name)
                column = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
            values = column.to_numpy(zero_copy_only=False)
            if name not in self._columns:
                self._columns[name] = np.empty(self._sets, dtype=values.dtype)
            self._columns[name][rows] = values

    def table(self) -> pa.Table:
        """All rows in the grid's order; a failed set's figures are null, and `error` says why."""
        if not self._errors:
            return pa.table(self._columns)
        failed = np.zeros(self._sets, dtype=bool)
        failed[list(self._errors)] = True
        columns: dict[str, Any] = {
            name: pa.array(values, mask=failed) if name in self._undefined else values
            for name, values in self._columns.items()
        }
        columns["error"] = pa.array([self._errors.get(row) for row in range(self._sets)])
        return pa.table(columns)


def request_of(sets: ParameterSets, made_by: Provenance, block_sets: int) -> dict[str, object]:
    """What must be the same for parts of two processes to belong together."""
    digest = hashlib.sha256()
    for name, column in sets.columns.items():
        digest.update(name.encode() + np.ascontiguousarray(column).tobytes())
    return {
        "sets": len(sets),
        "block_sets": block_sets,
        "grid": digest.hexdigest(),
        "made_by": made_by.model_dump(mode="json", exclude={"look_ahead"}),
    }


class Meter:
    """Counts sets that are done and tells somebody, at most every half second."""

    def __init__(self, total: int, done: int, tell: Callable[[Progress], None] | None) -> None:
        self._total, self._done, self._before = total, done, done
        self._tell = tell
        self._began = time.monotonic()
        self._told = 0.0

    def add(self, sets: int) -> None:
        """`sets` more are done."""
        self._done += sets
        now = time.monotonic()
        if self._tell is None or (now - self._told < 0.5 and self._done < self._total):
            return
        self._told = now
        rate = (self._done - self._before) / max(now - self._began, 1e-9)
        left = (self._total - self._done) / rate if rate > 0 else None
        self._tell(Progress(self._done, self._total, rate, left))


def _write_whole(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".writing")
    beside.write_bytes(content)
    beside.replace(path)
