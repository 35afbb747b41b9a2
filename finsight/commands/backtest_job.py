"""A backtest as a Ray job: what was asked over HTTP, done and kept.

    python -m finsight.commands.backtest_job --request='{"exchange": "binance", …}'

Prints how far it is, and at the end the id under which the result is kept. What a sweep has
done is kept on the way: tried again after a crash, it goes on from there.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING

from pydantic import ValidationError

from finsight.commands.backtest_candles import AskedCandles, asked_series
from finsight.commands.backtest_known import with_what_was_known
from finsight.commands.backtest_work import on_ray, told
from finsight.domain.asked_backtest import PROGRESS, AskedBacktest, BacktestProgress
from finsight.domain.backtest_record import BacktestRecord, SweepMeans
from finsight.domain.errors import FinSightError, InvalidInput
from finsight.settings import Settings
from finsight.wiring import open_backtest_store

if TYPE_CHECKING:
    from finsight.backtesting.blocks import Progress

_EVERY_S = 1.0


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--request", required=True, help="what to test, as JSON")
    given = parser.parse_args(arguments)
    try:
        record = do(Settings.load(), _asked(given.request))
    except FinSightError as exc:
        print(f"the backtest failed: {exc}", file=sys.stderr)
        return 1
    print(json.dumps({"kind": "backtest", "version": record.id}))
    return 0


def do(settings: Settings, asked: AskedBacktest) -> BacktestRecord:
    """Carry it out and keep it. Raises: InvalidInput, NotFound, StoreUnavailable."""
    series = _candles(settings, asked)
    candles = {one.source: one.candles for one in series}
    request = asked.request()
    parts = settings.data_dir / "backtests" / "parts" / _digest(asked)
    sweeps = request.kind == "sweep"
    # A job is a process of a cluster; started by hand it does its work alone.
    with on_ray(os.environ.get("RAY_ADDRESS")):
        record, tables = told(
            settings,
            request,
            candles,
            _Teller(),
            SweepMeans(parts, resume=True) if sweeps else SweepMeans(),
            known={one.source: one.known for one in series},
        )
    asyncio.run(open_backtest_store(settings).save(record, tables, candles))
    shutil.rmtree(parts, ignore_errors=True)
    return record


class _Teller:
    """Prints how far it is, once a second at most."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, done: Progress) -> None:
        now = time.monotonic()
        if done.done < done.total and now - self._last < _EVERY_S:
            return
        self._last = now
        progress = BacktestProgress(
            done=done.done, total=done.total, sets_per_s=done.sets_per_s, left_s=done.left_s
        )
        print(f"{PROGRESS}{progress.model_dump_json()}", flush=True)


def _asked(document: str) -> AskedBacktest:
    try:
        return AskedBacktest.model_validate_json(document)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the request"
        raise InvalidInput(f"{where}: {first['msg']}") from exc


def _candles(settings: Settings, asked: AskedBacktest) -> list[AskedCandles]:
    named = [
        part for one in asked.series for part in (one.exchange, one.symbol, str(one.timeframe))
    ]
    start, end = (None if at is None else at.isoformat() for at in (asked.start, asked.end))
    found = asked_series(settings, named, None, start, end)
    return with_what_was_known(settings, found, asked.strategy, None, None)


def _digest(asked: AskedBacktest) -> str:
    return hashlib.sha256(asked.model_dump_json().encode()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
