"""Search the best recipe for the forecasters of a timeframe, and register what it makes.

    python -m finsight.training.tune_forecaster --timeframe 1h --trials 20

Runs as it is under `ray job submit`. Killed or stopped, it goes on by `--resume NAME`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finsight.domain.errors import FinSightError, InvalidInput, StoreUnavailable
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe
from finsight.domain.forecaster_search import (
    SearchPlan,
    TrialRecord,
    TrialState,
    best_of,
    ranked,
)
from finsight.domain.history import fingerprint
from finsight.domain.promotion import CHALLENGER
from finsight.domain.recipe_space import RecipeSpace, read_space
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ModelReference
from finsight.settings import Settings
from finsight.training.forecaster_data import TrainingData, stored_data
from finsight.training.recipe_searcher import values_of
from finsight.training.search_ledger import SearchLedger
from finsight.training.search_log import TrialLogging
from finsight.training.search_pictures import search_pictures
from finsight.training.search_session import Standing, Teach, Watch, run_session, teach
from finsight.training.search_winner import log_search, register_winner
from finsight.wiring import default_recipe, open_clock

USUAL_TRIALS = 20


@dataclass(frozen=True)
class SearchRequest:
    """What is asked for; `resume` names a search that is to go on, and the rest is as it was.

    `values` narrow the space: `patch_length=8,16`, `learning_rate=1e-4..1e-2`.
    """

    timeframe: Timeframe = Timeframe.H1
    families: tuple[str, ...] = ("patchtst",)
    values: tuple[str, ...] = ()
    trials: int | None = None
    minutes: float | None = None
    cpus: float = 1.0
    steps: int | None = None
    check_every: int | None = None
    exogenous: bool = False
    seed: int = 1
    name: str | None = None
    resume: str | None = None


@dataclass(frozen=True)
class SearchResult:
    """What a search ended with; `registered` is None while it isn't done, or found nothing."""

    plan: SearchPlan
    records: tuple[TrialRecord, ...]
    folder: Path
    seconds: float
    interrupted: bool
    winner: TrialRecord | None
    registered: ModelReference | None
    pictures: tuple[Path, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        registered = self.registered
        return {
            "search": self.plan.name,
            "folder": str(self.folder),
            "seconds": round(self.seconds, 1),
            "interrupted": self.interrupted,
            "trials": [
                {
                    "number": one.number,
                    "family": str(one.recipe.family),
                    "values": dict(one.values),
                    "state": str(one.state),
                    "step": one.step,
                    "loss_to_naive": one.best if one.losses else None,
                    "restarts": one.restarts,
                    "reason": one.reason,
                }
                for one in ranked(self.records)
            ],
            "winner": self.winner.number if self.winner else None,
            "registered": registered
            and {
                "kind": registered.kind,
                "version": registered.version,
                "alias": CHALLENGER,
                "held_out": {
                    name: value
                    for name, value in registered.metrics.items()
                    if name.startswith("held_out")
                },
            },
            "pictures": [str(path) for path in self.pictures],
            "notes": list(self.notes),
        }


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
    base = _base(settings, request, space)
    data = asyncio.run(stored_data(settings, request.timeframe, base, now))
    plan = _plan(request, space, base, now, fingerprint(data.histories))
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


def _base(settings: Settings, request: SearchRequest, space: RecipeSpace) -> ForecasterRecipe:
    """What all trials have in common. Raises: InvalidInput."""
    usual = default_recipe(settings)
    steps = request.steps or usual.steps
    sighted = [family for family in space.families if family is not Family.PATCHTST]
    if request.exogenous and not sighted:
        raise InvalidInput(
            "PatchTST sees closes alone; with exogenous inputs let nhits or tide compete"
        )
    base = usual.model_copy(
        update={
            "family": sighted[0] if request.exogenous else space.families[0],
            "steps": steps,
            "check_every": min(request.check_every or max(1, steps // 9), steps),
            "exogenous": request.exogenous,
            "threads": max(1, int(request.cpus)),
            "seed": request.seed,
        }
    )
    space.check(base)
    return base


def _plan(
    request: SearchRequest, space: RecipeSpace, base: ForecasterRecipe, now: datetime, seen: str
) -> SearchPlan:
    """Raises: InvalidInput."""
    try:
        return SearchPlan(
            name=request.name or f"{request.timeframe}-{now:%Y%m%d-%H%M%S}",
            timeframe=request.timeframe,
            space=space,
            base=base,
            trials=request.trials or (None if request.minutes else USUAL_TRIALS),
            minutes=request.minutes,
            cpus=request.cpus,
            seed=request.seed,
            until=now,
            fingerprint=seen,
            made_at=now,
        )
    except ValidationError as exc:
        raise InvalidInput(
            f"the search can't be called '{request.name}': expected letters, digits, dots, "
            "dashes and underscores, at most 64"
        ) from exc


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


class Lines:
    """Says each thing that happens to a trial, once, a line each."""

    def __init__(self) -> None:
        self._said: dict[int, TrialState] = {}
        self._note = ""

    def __call__(self, standing: Standing) -> None:
        if standing.note and standing.note != self._note:
            print(standing.note, file=sys.stderr, flush=True)
        self._note = standing.note
        for record in standing.records:
            if self._said.get(record.number) is record.state:
                continue
            self._said[record.number] = record.state
            if record.state is not TrialState.OPEN:
                print(in_words(record), file=sys.stderr, flush=True)


def in_words(record: TrialRecord) -> str:
    """A trial as one line."""
    values = " ".join(f"{name}={value}" for name, value in values_of(record).items())
    loss = f"loss {record.best:.4f} of naive's" if record.losses else "no loss"
    reason = f" ({record.reason})" if record.reason else ""
    return f"trial {record.number}: {record.state} at step {record.step}, {loss}{reason}; {values}"


if __name__ == "__main__":
    sys.exit(main())
