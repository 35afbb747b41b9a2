"""Many parameter sets over one series: in threads here, or over a Ray cluster by Ray Data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from finsight.backtesting.blocks import (
    BLOCK_SETS,
    ROW,
    Meter,
    Parts,
    Progress,
    Rows,
    chosen,
    request_of,
    shared_out,
    tiled,
)
from finsight.backtesting.candle_arrays import CandleArrays, head
from finsight.backtesting.engine import TABLE_BYTES, Engine, Rules, Tallied
from finsight.backtesting.luck import winner
from finsight.backtesting.memory import keep_what_is_freed, tables_within
from finsight.backtesting.parameter_sets import ParameterSets, parameter_sets
from finsight.backtesting.side_by_side import has_ray, workers_on_a_node
from finsight.backtesting.single import provenance_of, rules_of
from finsight.backtesting.statistics import statistics
from finsight.backtesting.strategies import Strategy
from finsight.backtesting.tallies import Market, Tallies
from finsight.backtesting.user_strategy import opened, resolve
from finsight.domain.backtest import with_metadata
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Direction, Execution, Sampling, Sizing, Stops

_BYTES_AT_ONCE = 4 << 20
"""What a task gathers before it gives it back: three or four blocks, a second or two of work."""


def sweep(
    candles: Any,
    strategy: str | Callable[..., Any] = "ma_cross",
    grid: Mapping[str, Iterable[float]] | None = None,
    *,
    costs: Costs | Mapping[str, Any] | None = None,
    execution: Execution | str = "next_open",
    direction: Direction | str = "long",
    stops: Stops | Mapping[str, Any] | None = None,
    sizing: Sizing | Mapping[str, Any] | None = None,
    sample: int | None = None,
    sampling: Sampling | str = "random",
    seed: int = 0,
    threads: int | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    block_sets: int = BLOCK_SETS,
    table_bytes: int = TABLE_BYTES,
    memory_bytes: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> pa.Table:
    """Try every parameter set of `grid`, or `sample` of them, over `candles`.

    Returns the parameters, then the statistics, one row a set, in the grid's order (the
    first parameter changes slowest). Sets that the strategy rules out (fast >= slow) are
    left out; the table's metadata (`domain.backtest.metadata_of`) counts them, says what
    made the table, and how much of the best set's Sharpe ratio is luck. Where a user's
    strategy failed, the column `error` says why and the figures of that row are null.

    Where this process is connected to Ray, the blocks run as Ray Data tasks, otherwise in
    `threads`; the rows are the same to the bit. With `out`, each block is kept there as
    Parquet as soon as it is done, and `resume` goes on after a crash, repeating at most the
    blocks that were in flight. `table_bytes` bounds each worker's indicator tables;
    `memory_bytes` bounds what the sweep adds on the machine (Ray's own processes come on
    top), or is refused.

    Raises:
        InvalidInput: as `run`; also an empty grid or one that is too large, too little
            memory allowed, or `out` holding another sweep.
        StoreUnavailable: `out` can't be written.
    """
    arrays, picked = opened(candles, strategy)
    rules = rules_of(execution, direction, costs, stops, sizing)
    sets = parameter_sets(picked, grid, sample, seed, sampling)
    blocks = tiled(sets, block_sets)
    # One block is done sooner here than a pipeline is started.
    spread = has_ray() and len(blocks) > 1
    if memory_bytes is not None:
        table_bytes = tables_within(
            memory_bytes, len(sets), block_sets, len(arrays.close), table_bytes,
            workers=workers_on_a_node() if spread else 1,
            threads=1 if spread else threads or os.cpu_count() or 1,
        )  # fmt: skip
    parts = Parts(Path(out)) if out is not None else None
    if parts:
        made_by = provenance_of(arrays, picked, rules, None, seed)
        parts.open(request_of(sets, made_by, block_sets), resume)
    done = parts.done() if parts else set()
    todo = [block for block in range(len(blocks)) if block not in done]
    meter = Meter(len(sets), sum(len(blocks[block]) for block in done), progress)
    work = BlockWork(arrays, strategy, rules, sets, blocks, table_bytes)
    rows = Rows(len(sets))
    for block in sorted(done):
        assert parts is not None
        rows.put(parts.read(block))
    for block, table in _over_ray(work, todo) if spread else work.here(todo, threads):
        if parts:
            parts.keep(block, table)
        rows.put(table)
        meter.add(table.num_rows)
    table = rows.table()
    failed = table.column("error").null_count if "error" in table.column_names else len(sets)
    if not failed:
        first = table.column("error")[0].as_py()
        raise InvalidInput(f"every parameter set failed; the first: {first}")
    errors = np.zeros(len(sets), dtype=bool)
    if "error" in table.column_names:
        errors = table.column("error").is_valid().to_numpy(zero_copy_only=False)
    works = sets.values(int(np.flatnonzero(~errors)[0]))
    return with_metadata(
        table,
        {
            "provenance": provenance_of(arrays, picked, rules, works, seed).model_dump(mode="json"),
            "sets": len(sets),
            "ruled_out": sets.ruled_out,
            "failed": int(errors.sum()),
            "winner": winner(table, list(sets.columns), len(arrays.close), Market.of(arrays)),
        },
    )


class BlockWork:
    """Everything a worker needs to do any block of a sweep."""

    def __init__(
        self,
        candles: CandleArrays,
        strategy: str | Callable[..., Any],
        rules: Rules,
        sets: ParameterSets,
        blocks: list[np.ndarray],
        table_bytes: int,
    ) -> None:
        self.candles = candles
        self.strategy = strategy
        self.rules = rules
        self.sets = sets
        self.blocks = blocks
        self.table_bytes = table_bytes

    def here(self, todo: list[int], threads: int | None) -> Iterator[tuple[int, pa.Table]]:
        """Do the blocks in this process, one after another, each in `threads`."""
        engine = self.engine()
        for block in todo:
            yield block, self.do(engine, block, threads)

    def engine(self) -> Engine:
        """An engine on candles of the worker's own (those of the object store are read-only)."""
        own = head(self.candles, len(self.candles.close))
        return Engine(own, resolve(self.strategy), self.rules)

    def do(self, engine: Engine, block: int, threads: int | None) -> pa.Table:
        """The finished rows of one block."""
        rows = self.blocks[block]
        sets = chosen(self.sets, rows)
        tallied = engine.tally(sets, threads, self.table_bytes)
        table = result_table(
            engine.strategy, self.sets, sets, tallied, Market.of(engine.candles), self.rules
        )
        return table.append_column(ROW, pa.array(rows))


def result_table(
    strategy: Strategy,
    whole: ParameterSets,
    sets: ParameterSets,
    tallied: Tallied,
    market: Market,
    rules: Rules,
) -> pa.Table:
    """Parameters, statistics and, where some sets failed, errors, as Arrow."""
    columns: dict[str, Any] = {
        name: column.astype(np.int64) if _is_whole(strategy, name, whole) else column
        for name, column in sets.columns.items()
    }
    failed = np.zeros(len(sets), dtype=bool)
    failed[list(tallied.failures)] = True
    sums = np.where(failed[:, None], 0.0, tallied.table) if failed.any() else tallied.table
    for name, values in statistics(Tallies(sums, market, rules.sizing.cash)).items():
        columns[name] = pa.array(values, mask=failed) if failed.any() else values
    if failed.any():
        columns["error"] = [tallied.failures.get(row) for row in range(len(sets))]
    return pa.table(columns)


def _is_whole(strategy: Strategy, name: str, sets: ParameterSets) -> bool:
    """Whether a parameter's column holds integers: by its kind, else by its values."""
    for parameter in strategy.parameters or ():
        if parameter.name == name:
            return parameter.kind == "integer"
    column = sets.columns[name]
    return bool(np.all(column == np.round(column)))


def _over_ray(work: BlockWork, todo: list[int]) -> Iterator[tuple[int, pa.Table]]:
    """Do the blocks as tasks of one Ray Data pipeline; they come back in any order.

    The candles and the parameter sets enter the object store once, by reference. A Ray
    Data task is a plain function: an actor pool would hold its CPUs for the whole run.
    """
    if not todo:
        return
    import ray

    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    tasks = shared_out(todo, workers=max(1, int(available.get("CPU", 1))))
    reference = ray.put(work)
    key = reference.hex()

    def do(batch: Any) -> Iterator[pa.Table]:
        for place in batch["id"]:
            for block in tasks[place]:
                shared, engine = _engine_of(key, reference)
                table = shared.do(engine, block, threads=1)
                if "error" not in table.column_names:  # one schema for every block
                    none = pa.nulls(table.num_rows, pa.string())
                    table = table.append_column("error", none)
                yield table.append_column("__block", pa.array([block] * table.num_rows))

    dataset = ray.data.range(len(tasks), override_num_blocks=len(tasks))
    # Blocks come back a few at a time as they are done, not all with the task's end.
    dataset.context.target_max_block_size = _BYTES_AT_ONCE
    dataset.context.memory_usage_poll_interval_s = None  # Nobody reads what it would find.
    done = dataset.map_batches(do, batch_size=None, num_cpus=1, zero_copy_batch=True)
    batches: Any = done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
    begun: dict[int, list[pa.Table]] = {}
    for batch in batches:
        numbers = batch.column("__block").to_numpy()
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for start, stop in pairwise(edges):
            block = int(numbers[start])
            pieces = begun.setdefault(block, [])
            pieces.append(batch.slice(start, stop - start))
            if sum(piece.num_rows for piece in pieces) < len(work.blocks[block]):
                continue  # Ray Data cuts a large block.
            whole = pa.concat_tables(begun.pop(block)).drop_columns(["__block"])
            if whole.column("error").null_count == whole.num_rows:
                whole = whole.drop_columns(["error"])
            yield block, whole


_ENGINES: dict[str, tuple[BlockWork, Engine]] = {}


def _engine_of(key: str, reference: Any) -> tuple[BlockWork, Engine]:
    """The engine of a sweep, made once in each worker process."""
    if key not in _ENGINES:
        import ray

        _ENGINES.clear()
        keep_what_is_freed()
        work: BlockWork = ray.get(reference)
        _ENGINES[key] = (work, work.engine())
    return _ENGINES[key]
