"""The command that searches recipes, with a table that lives while it does."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from finsight.commands.show import console, errors, print_json, print_table
from finsight.commands.training import tune
from finsight.domain.errors import InvalidInput
from finsight.domain.forecaster_search import (
    TrialRecord,
    TrialState,
    best_of,
    differing,
    ranked,
)
from finsight.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from finsight.training.search_session import Standing
    from finsight.training.tune_forecaster import SearchResult

_SAY_AGAIN_S = 5.0
_SHOWN_TRIALS = 16
_COLOURS = {
    TrialState.FINISHED: "green",
    TrialState.STOPPED: "dim",
    TrialState.FAILED: "red",
    TrialState.OPEN: "yellow",
}


@tune.command("forecaster")
def forecaster(
    timeframe: Annotated[str, typer.Argument(help="Of which candles, such as 1h.")] = "1h",
    families: Annotated[
        str, typer.Option(help="Those that compete: patchtst, nhits, tide, commas between.")
    ] = "patchtst",
    trying: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            help="Narrow a parameter: patch_length=8,16, learning_rate=1e-4..1e-2, "
            "nhits.layers=1,2. Again for each.",
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="How many recipes; unset: 20.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Or for how long.")] = None,
    cpus: Annotated[float, typer.Option(help="CPUs that one trial takes.")] = 1.0,
    steps: Annotated[
        int | None, typer.Option(help="Gradient steps of a whole trial; unset: the settings'.")
    ] = None,
    check_every: Annotated[
        int | None, typer.Option(help="Steps between two looks at the validation part.")
    ] = None,
    exogenous: Annotated[
        bool, typer.Option(help="Let nhits and tide see volume and sentiment.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides the recipes and their first weights.")] = 1,
    name: Annotated[str | None, typer.Option(help="What the search is called.")] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on with the search of this name, as it was asked for.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search the best recipe by Ray Tune, and register what it makes as challenger.

    Ctrl-C stops it and keeps what is done.

    Example: finsight tune forecaster 1h --families patchtst,nhits --trials 30
    """
    if timeframe not in list(Timeframe):
        raise InvalidInput(f"'{timeframe}' is not a timeframe; known are {', '.join(Timeframe)}")
    from finsight.settings import Settings
    from finsight.training.tune_forecaster import SearchRequest, tune_forecaster

    request = SearchRequest(
        timeframe=Timeframe(timeframe),
        families=tuple(part for part in families.split(",") if part.strip()),
        values=tuple(trying or ()),
        trials=trials,
        minutes=minutes,
        cpus=cpus,
        steps=steps,
        check_every=check_every,
        exogenous=exogenous,
        seed=seed,
        name=name,
        resume=resume,
    )
    with LiveTrials() as shown:
        result = tune_forecaster(Settings.load(), request, shown)
    if as_json:
        print_json(result.as_json())
    else:
        _print_result(result)
    if result.interrupted:
        raise typer.Exit(130)


class LiveTrials:
    """The trials as a table: refreshed in place on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._live = Live(console=errors, refresh_per_second=4, transient=True)
        self._said_at = -math.inf
        self._said = ""

    def __enter__(self) -> LiveTrials:
        if errors.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, standing: Standing) -> None:
        if errors.is_terminal:
            self._live.update(trials_table(standing))
            return
        said = in_one_line(standing)
        if said != self._said and time.monotonic() - self._said_at >= _SAY_AGAIN_S:
            self._said, self._said_at = said, time.monotonic()
            errors.print(said, markup=False, soft_wrap=True)


def in_one_line(standing: Standing) -> str:
    """How far the search is."""
    records, plan = standing.records, standing.plan
    ended = [record for record in records if record.state is not TrialState.OPEN]
    of = f" of {plan.trials}" if plan.trials else ""
    best = best_of(records)
    found = f", best {best.best:.4f} of naive's (trial {best.number})" if best else ""
    early = sum(record.state is TrialState.STOPPED for record in ended)
    words = f"{plan.name}: {len(ended)}{of} trials ended, {early} of them early{found}"
    return f"{words}; {standing.note}" if standing.note else words


def trials_table(standing: Standing) -> Group:
    """Those that run, then the best: parameters that differ, step, loss, state."""
    records = standing.records
    running = [record for record in records if record.number in standing.running]
    others = [record for record in ranked(records) if record.number not in standing.running]
    shown = [*running, *others][:_SHOWN_TRIALS]
    names = differing(records)
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in ("trial", "family", *names, "step", "loss / naive", "state"):
        table.add_column(column, no_wrap=True)
    for record in shown:
        state = "running" if record.number in standing.running else _state(record)
        table.add_row(*_row(record, names), Text(state, style=_COLOURS[record.state]))
    minutes = f"{standing.seconds / 60:.1f} min"
    return Group(table, Text(f"{in_one_line(standing)}; {minutes}", style="dim"))


def _state(record: TrialRecord) -> str:
    return "waiting" if record.state is TrialState.OPEN else str(record.state)


def _row(record: TrialRecord, names: list[str]) -> list[str]:
    from finsight.training.recipe_searcher import values_of

    values = values_of(record)
    loss = f"{record.best:.4f}" if math.isfinite(record.best) else ""
    step = f"{record.step}/{record.recipe.steps}"
    told = [values.get(name, "") for name in names]
    return [str(record.number), str(record.recipe.family), *told, step, loss]


def _print_result(result: SearchResult) -> None:
    names = differing(result.records)
    best = [record for record in ranked(result.records) if math.isfinite(record.best)][:10]
    rows = [[*_row(record, names), _state(record)] for record in best]
    rows.append(["naive", "", *["" for _ in names], "", "1.0000", "the last close stands"])
    print_table(
        f"the best of {len(result.records)} trials, by their validation loss beside naive's",
        ("trial", "family", *names, "step", "loss", "state"),
        rows,
    )
    for record in result.records:
        if record.state is TrialState.FAILED:
            console.print(f"trial {record.number} failed: {record.reason}", markup=False)
    if result.registered is not None and result.winner is not None:
        registered = result.registered
        console.print(
            f"\ntrial {result.winner.number} is registered as {registered.kind} "
            f"{registered.version}, the challenger"
        )
        ratio = registered.metrics.get("held_out_ratio_to_naive")
        if ratio is not None:
            console.print(
                f"on the held-out part, which decided nothing: {ratio:.4f} of naive's error"
            )
    for path in result.pictures:
        console.print(f"picture  {path}", markup=False, soft_wrap=True)
    for note in result.notes:
        console.print(f"note     {note}", markup=False, soft_wrap=True)
    if result.interrupted:
        errors.print(
            f"stopped; what is done is kept. Go on: finsight tune forecaster --resume "
            f"{result.plan.name}",
            markup=False,
            soft_wrap=True,
        )
