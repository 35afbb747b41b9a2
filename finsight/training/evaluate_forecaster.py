"""Judge a forecaster of the registry on candles that it never saw, beside naive.

    python -m finsight.training.evaluate_forecaster --timeframe 1h --version champion

Runs as it is under `ray job submit`: the origins spread over the cluster.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from finsight.domain.errors import FinSightError, InvalidInput, StoreUnavailable
from finsight.domain.promotion import CHAMPION
from finsight.domain.timeframe import Timeframe
from finsight.services.forecast_judging import outcomes_of
from finsight.services.forecast_pictures import pictures_of
from finsight.settings import Settings
from finsight.training.forecaster_evaluation import Evaluation, Question, evaluate_forecaster
from finsight.training.spread_judging import Done

_SAY_AGAIN_S = 5.0


def check_out(out: Path | None, pictures: Path | None) -> None:
    """Refuse what can't be written, before the work. Raises: InvalidInput."""
    if out is not None and out.suffix != ".parquet":
        raise InvalidInput(f"the forecasts are written as Parquet: {out} must end in .parquet")
    if out is not None and not out.absolute().parent.is_dir():
        raise InvalidInput(f"there is no folder {out.absolute().parent} to write {out.name} in")
    if pictures is not None and pictures.exists() and not pictures.is_dir():
        raise InvalidInput(f"{pictures} is a file; pictures need a folder")


def write_evaluation(evaluation: Evaluation, out: Path | None, pictures: Path | None) -> None:
    """Write every forecast, the verdict in its metadata, and the pictures, where asked to.

    Raises: StoreUnavailable (a disk that is full, or may not be written on).
    """
    verdict = evaluation.verdict
    try:
        if out is not None:
            metadata = {"verdict": verdict.model_dump_json()}
            pq.write_table(evaluation.forecasts.replace_schema_metadata(metadata), out)
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            outcomes = outcomes_of(evaluation.forecasts, verdict.every)
            for name, png in pictures_of(verdict.name, outcomes).items():
                (pictures / name).write_bytes(png)
    except OSError as exc:
        raise StoreUnavailable(f"the evaluation could not be written: {exc}") from exc


def main(arguments: list[str] | None = None) -> int:
    """The job. Returns 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeframe", type=Timeframe, default=Timeframe.H1)
    parser.add_argument("--version", default=CHAMPION, help="a number, champion or challenger")
    parser.add_argument("--since", type=_moment, help="forecast candles from then on, in UTC")
    parser.add_argument("--until", type=_moment, help="forecast candles until then, in UTC")
    parser.add_argument("--horizon", type=int, help="candles ahead; unset: the version's")
    parser.add_argument("--every", type=int, help="candles between origins")
    parser.add_argument("--series", nargs="+", default=[], help="keys; unset: all stored")
    parser.add_argument("--refit-every", type=int, help="train anew every so many candles")
    parser.add_argument("--out", type=Path, help="write every forecast there, as Parquet")
    parser.add_argument("--pictures", type=Path, help="write pictures into this folder")
    parser.add_argument("--data-dir", type=Path, help="where the platform keeps its data")
    given = parser.parse_args(arguments)
    asked = Question(
        timeframe=given.timeframe,
        version=given.version,
        since=given.since,
        until=given.until,
        horizon=given.horizon,
        every=given.every,
        series=tuple(given.series),
        refit_every=given.refit_every,
    )
    try:
        check_out(given.out, given.pictures)
        settings = Settings.load({"data_dir": given.data_dir} if given.data_dir else None)
        with _cluster_of_the_job():
            evaluation = evaluate_forecaster(settings, asked, printing())
        write_evaluation(evaluation, given.out, given.pictures)
    except FinSightError as exc:
        print(f"judging failed: {exc}", file=sys.stderr)
        return 1
    for line in (*evaluation.notes, *evaluation.verdict.words):
        print(line, flush=True)
    print(evaluation.verdict.model_dump_json())
    return 0


@contextmanager
def _cluster_of_the_job() -> Iterator[None]:
    """Join the cluster that a Ray job runs on; elsewhere nothing is started."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        yield
        return
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as exc:
        raise FinSightError(f"the Ray cluster at {address} can't be joined: {exc}") from exc
    print(f"spread over {int(ray.cluster_resources().get('CPU', 0))} CPUs of Ray", flush=True)
    try:
        yield
    finally:
        ray.shutdown()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def printing() -> Callable[[Done], None]:
    """Return what prints, every five seconds, how far a judging is and how long it will take."""
    last = time.monotonic()

    def tell(done: Done) -> None:
        nonlocal last
        if time.monotonic() - last >= _SAY_AGAIN_S or done.origins == done.of:
            last = time.monotonic()
            left = "" if done.left_s is None else f", {done.left_s:,.0f} s left"
            print(f"{done.origins:,} of {done.of:,} forecasts judged{left}", flush=True)

    return tell


if __name__ == "__main__":
    sys.exit(main())
