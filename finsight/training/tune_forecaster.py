"""Search the best recipe for the forecasters of a timeframe, and register what it makes.

    python -m finsight.training.tune_forecaster --timeframe 1h --trials 20

Runs as it is under `ray job submit`. Killed or stopped, it goes on by `--resume NAME`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from finsight.domain.errors import FinSightError, InvalidInput, StoreUnavailable
from finsight.domain.forecaster_search import (
    TrialState,
    best_of,
)
from finsight.domain.history import fingerprint
from finsight.domain.recipe_space import read_space
from finsight.domain.timeframe import Timeframe
from finsight.settings import Settings
from finsight.training.forecaster_data import TrainingData, stored_data
from finsight.training.search_ledger import SearchLedger
from finsight.training.search_lines import Lines
from finsight.training.search_log import TrialLogging
from finsight.training.search_pictures import search_pictures
from finsight.training.search_request import (
    SearchRequest,
    SearchResult,
    base_recipe,
    search_plan,
)
from finsight.training.search_session import Watch, run_session
from finsight.training.search_trial import Teach, teach
from finsight.training.search_winner import log_search, register_winner
from finsight.wiring import open_clock


def tune_forecaster(
    settings: Settings,
    request: SearchRequest,
    watch: Watch = lambda _: None,
    teach: Teach = teach,
) -> SearchResult:
    """Search, and when the search is done register what the best recipe makes.

    Trials are compared on the validation part alone. The held-out part is looked at once,
    by the winner, for its record.

    Raises:
        InvalidInput: a budget, family or value that can't be; too few candles; too many CPUs.
        NotFound: there is no search of the name to resume.
        StoreUnavailable, ModelUnavailable: try again later.
    """
    ledger, data = _opened(settings, request)
    ledger.take()
    try:
        return _searched(settings, request, ledger, data, watch, teach)
    finally:
        ledger.give_back()


def _searched(
    settings: Settings,
    request: SearchRequest,
    ledger: SearchLedger,
    data: TrainingData,
    watch: Watch,
    teach: Teach,
) -> SearchResult:
    plan = ledger.plan
    interrupted = False
    left = seconds_left(ledger, request)
    if not is_done(ledger) and (left is None or left > 0):
        with TrialLogging(settings, plan) as log:
            interrupted = run_session(
                ledger, data, teach, watch=watch, tell=log.tell, seconds_left=left
            )
    records = tuple(ledger.records)
    if records and all(record.state is TrialState.FAILED for record in records):
        raise InvalidInput(f"all {len(records)} trials failed; the first: {records[0].reason}")
    pictures = search_pictures(plan, records)
    paths = ledger.keep_pictures(pictures.items())
    winner, registered, notes = best_of(records), None, list[str]()
    try:
        if not interrupted and winner is not None:
            registered = register_winner(settings, ledger, winner, data, teach)
        log_search(settings, ledger, winner, registered, pictures, finished=not interrupted)
    except StoreUnavailable as exc:
        notes.append(f"{exc}; --resume {plan.name} registers and logs it later")
    return SearchResult(
        plan,
        records,
        ledger.folder,
        ledger.seconds,
        interrupted,
        winner,
        registered,
        tuple(paths),
        tuple(notes),
    )


def is_done(ledger: SearchLedger) -> bool:
    """Whether all trials that the plan allows have ended."""
    ended = [one for one in ledger.records if one.state is not TrialState.OPEN]
    return ledger.plan.trials is not None and len(ended) >= ledger.plan.trials


def seconds_left(ledger: SearchLedger, request: SearchRequest) -> float | None:
    """The session's time: that which is asked for now, else what the plan has left."""
    if request.resume and request.minutes is not None:
        return 60 * request.minutes
    return None if ledger.plan.minutes is None else 60 * ledger.plan.minutes - ledger.seconds


def _opened(settings: Settings, request: SearchRequest) -> tuple[SearchLedger, TrainingData]:
    """Raises: InvalidInput, NotFound, StoreUnavailable."""
    _check(request)
    searches = settings.data_dir / "searches"
    if request.resume:
        ledger = SearchLedger.reopen(searches, request.resume)
        plan = ledger.plan
        data = asyncio.run(stored_data(settings, plan.timeframe, plan.base, plan.until))
        if fingerprint(data.histories) != plan.fingerprint:
            raise InvalidInput(
                f"the candles before {plan.until:%Y-%m-%d %H:%M} are not those that "
                f"{request.resume} began with (a backfill?): its trials could not be compared "
                "with new ones; begin another search"
            )
        return ledger, data
    now = open_clock(settings).now()
    space = read_space(request.families, request.values)
    base = base_recipe(settings, request, space)
    data = asyncio.run(stored_data(settings, request.timeframe, base, now))
    plan = search_plan(request, space, base, now, fingerprint(data.histories))
    return SearchLedger.begin(searches, plan), data


def _check(request: SearchRequest) -> None:
    """Raises: InvalidInput."""
    counts = {"trials": request.trials, "minutes": request.minutes, "steps": request.steps}
    counts |= {"cpus": request.cpus, "check_every": request.check_every}
    for name, count in counts.items():
        if count is not None and not count > 0:
            raise InvalidInput(f"{name} is {count:g}; expected more than 0")
    if request.resume and request.name:
        raise InvalidInput("a search that goes on keeps its name; leave out --name")


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, 1 with the reason on standard error, 130 when interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeframe", type=Timeframe, default=Timeframe.H1)
    parser.add_argument("--families", default="patchtst", help="patchtst,nhits,tide")
    parser.add_argument("--try", dest="values", action="append", default=[], metavar="NAME=VALUES")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--cpus", type=float, default=1.0, help="that one trial takes")
    parser.add_argument("--steps", type=int, help="gradient steps of a whole trial")
    parser.add_argument("--check-every", type=int)
    parser.add_argument("--exogenous", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name")
    parser.add_argument("--resume", metavar="NAME")
    parser.add_argument("--data-dir", type=Path)
    given = vars(parser.parse_args(arguments))
    data_dir, families = given.pop("data_dir"), given.pop("families")
    request = SearchRequest(
        **given | {"families": tuple(families.split(",")), "values": tuple(given["values"])}
    )
    try:
        settings = Settings.load({"data_dir": data_dir} if data_dir else None)
        result = tune_forecaster(settings, request, Lines())
    except FinSightError as exc:
        print(f"the search failed: {exc}", file=sys.stderr)
        return 1
    print(json.dumps(result.as_json()))
    return 130 if result.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
