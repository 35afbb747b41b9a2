"""Doing a backtest that was asked for: progress on the way, then kept, written and shown."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from finsight.commands.backtest_candles import AskedCandles
from finsight.commands.backtest_output import print_record, write_out
from finsight.commands.local_platform import last_line, refuse_unreachable
from finsight.commands.show import console, errors, print_json
from finsight.domain.backtest_record import (
    WITHOUT_LIMIT,
    BacktestRecord,
    BacktestRequest,
    SweepMeans,
)
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import FinSightError
from finsight.domain.known_values import KnownValues
from finsight.settings import Settings
from finsight.wiring import open_backtest_store, open_clock

if TYPE_CHECKING:
    from finsight.backtesting.blocks import Progress as Done


def carry_out_and_keep(
    settings: Settings,
    request: BacktestRequest,
    asked: Sequence[AskedCandles],
    as_json: bool,
    out: Path | None,
    report: Path | None,
    means: SweepMeans = WITHOUT_LIMIT,
) -> None:
    """Do it, keep it, show it. Raises: InvalidInput, StoreUnavailable."""
    candles = {one.source: one.candles for one in asked}
    known = {one.source: one.known for one in asked}
    record, tables = carried_out(settings, request, candles, means, known)
    store = open_backtest_store(settings)
    asyncio.run(store.save(record, tables, candles))
    record = asyncio.run(store.get(record.id))
    if out is not None:
        write_out(out, record, tables)
    if report is not None:
        from finsight.services.backtest_report import report_page

        report.write_text(report_page(record, tables, candles))
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    print_record(record, tables)
    for one in asked:
        whose = f"{one.source}: " if len(asked) > 1 else ""
        for note in one.notes:
            console.print(f"note             {whose}{note}", markup=False, soft_wrap=True)
    console.print(f"\nkept: finsight backtest show {record.id}", markup=False)


def carried_out(
    settings: Settings,
    request: BacktestRequest,
    candles: Mapping[str, CandleTable],
    means: SweepMeans = WITHOUT_LIMIT,
    known: Mapping[str, Mapping[str, KnownValues]] | None = None,
) -> tuple[BacktestRecord, dict[str, pa.Table]]:
    """Do what was asked for, with a bar on the way that says how far it is.

    Raises: InvalidInput.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} % {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(request.strategy, total=None, rate="")

        def tell(done: Done) -> None:
            left = "" if done.left_s is None else f", {done.left_s:,.0f} s left"
            rate = f"{done.done:,} of {done.total:,} sets, {done.sets_per_s:,.0f}/s{left}"
            bar.update(task, total=done.total, completed=done.done, rate=rate)

        return told(settings, request, candles, tell, means, known)


def told(
    settings: Settings,
    request: BacktestRequest,
    candles: Mapping[str, CandleTable],
    tell: Callable[[Done], None],
    means: SweepMeans = WITHOUT_LIMIT,
    known: Mapping[str, Mapping[str, KnownValues]] | None = None,
) -> tuple[BacktestRecord, dict[str, pa.Table]]:
    """Do what was asked for; `tell` hears how far it is. Raises: InvalidInput."""
    from finsight.backtesting.requested import carry_out

    outcome = carry_out(request, candles, tell, means, known)
    record = BacktestRecord(
        id=f"bt-{uuid.uuid4().hex[:8]}",
        made_at=open_clock(settings).now(),
        request=request,
        provenance=outcome.provenance,
        figures=outcome.figures,
        saw=outcome.saw,
    )
    return record, outcome.tables


@contextmanager
def on_ray(address: str | None) -> Iterator[None]:
    """Connect to a running Ray cluster for a while: a sweep in here spreads over it.

    A process that is connected already stays so, and None connects to nothing.

    Raises: FinSightError (no cluster answers there).
    """
    if address is None:
        yield
        return
    refuse_unreachable(address, f"--ray {address}")
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as exc:
        raise FinSightError(
            f"the Ray cluster at {address} can't be joined: {last_line(exc)}"
        ) from exc
    try:
        yield
    finally:
        ray.shutdown()
