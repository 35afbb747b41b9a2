"""Commands for the registry: which versions there are, who serves, and who decides so."""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from finsight.commands.model_tables import (
    print_comparison,
    print_decision,
    print_details,
    print_models,
)
from finsight.commands.operating import AsJson
from finsight.commands.show import console, errors, print_json
from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import LabelledText, parse_label_order
from finsight.domain.promotion import Verdict
from finsight.services import model_listing
from finsight.services.model_listing import KIND_PATTERN
from finsight.services.promotion import Promotion, roll_back
from finsight.settings import Settings
from finsight.wiring import (
    open_article_store,
    open_candle_store,
    open_clock,
    open_model_readers,
    open_model_registry,
    open_unsent_runs,
)

models = typer.Typer(help="Versions of models, and who of them serves.", no_args_is_help=True)

Kind = Annotated[str, typer.Argument(help="What it is for: sentiment, forecaster-1h.")]
Version = Annotated[str, typer.Argument(help="The number that `models list` shows.")]
On = Annotated[
    list[Path] | None,
    typer.Option("--on", help="Labelled texts new to both; sentiment models need them."),
]
Labels = Annotated[
    str | None, typer.Option(help="What the labels 0, 1, 2 mean: negative,neutral,positive.")
]
By = Annotated[str | None, typer.Option(help="Who decides; unset: user@host.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands to `app`."""
    app.add_typer(models, name="models")


@models.command("list")
def list_models(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, such as sentiment.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the versions, newest first, with their aliases and key figures.

    Example: finsight models list forecaster-1h
    """
    settings = Settings.load()
    found = model_listing.list_models(
        open_model_registry(settings), None if kind is None else _checked(kind)
    )
    waiting = open_unsent_runs(settings).waiting()
    if as_json:
        print_json({"models": [card.model_dump(mode="json") for card in found]})
    else:
        print_models(found)
    if waiting:
        errors.print(f"{len(waiting)} runs wait to be registered: see finsight models send")


@models.command("show")
def show_model(kind: Kind, version: Version, as_json: AsJson = False) -> None:
    """Show one version: parameters, figures, tags, and every decision on it.

    Example: finsight models show forecaster-1h 3
    """
    registry = open_model_registry(Settings.load())
    details = model_listing.show_model(registry, _checked(kind), _number(version))
    if as_json:
        print_json(details.model_dump(mode="json"))
    else:
        print_details(details)


@models.command("compare")
def compare_models(
    kind: Kind,
    version: Annotated[
        str | None, typer.Argument(help="Unset: the challenger, else the newest.")
    ] = None,
    on: On = None,
    labels: Labels = None,
    as_json: AsJson = False,
) -> None:
    """Hold a version against the champion on data new to both, and show both side by side.

    Example: finsight models compare sentiment 4 --on newest.csv
    """
    settings = Settings.load()
    registry, kind = open_model_registry(settings), _checked(kind)
    wanted = model_listing.newest_candidate(registry, kind) if version is None else _number(version)
    texts = _texts(on, labels)
    challenger = model_listing.show_model(registry, kind, wanted)
    serving = registry.champion(kind)
    champion = model_listing.show_model(registry, kind, serving.version) if serving else None
    compared = asyncio.run(_promotion(settings).compare(kind, wanted, texts))
    if as_json:
        print_json(
            {
                "is_better": compared.is_better,
                "words": compared.in_words(),
                "comparison": compared.model_dump(mode="json"),
                "version": challenger.model_dump(mode="json"),
                "champion": champion.model_dump(mode="json") if champion else None,
            }
        )
        return
    print_comparison(challenger, champion, compared)


@models.command("promote")
def promote_model(
    kind: Kind,
    version: Version,
    on: On = None,
    labels: Labels = None,
    force: Annotated[bool, typer.Option(help="Whatever the comparison says; needs a reason.")] = (
        False
    ),
    reason: Annotated[str, typer.Option(help="Why; kept with the decision.")] = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let a version serve if it is measurably better than what serves now.

    Exits 1 when it is refused. The decision is kept either way, with its figures.

    Example: finsight models promote forecaster-1h 3 --reason "trained on the summer, too"
    """
    settings = Settings.load()
    decision = asyncio.run(
        _promotion(settings).promote(
            _checked(kind),
            _number(version),
            by=by or _whoever_this_is(),
            reason=reason,
            force=force,
            texts=_texts(on, labels),
        )
    )
    _tell(decision, as_json)
    if decision.verdict is Verdict.REFUSED:
        raise typer.Exit(1)


@models.command("rollback")
def roll_back_model(
    kind: Kind,
    reason: Annotated[str, typer.Option(help="Why; kept with the decision.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let the champion before this one serve again.

    Example: finsight models rollback sentiment --reason "calls every headline good"
    """
    settings = Settings.load()
    decision = roll_back(
        open_model_registry(settings),
        open_clock(settings),
        _checked(kind),
        by=by or _whoever_this_is(),
        reason=reason,
    )
    _tell(decision, as_json)


@models.command("send")
def send_runs(as_json: AsJson = False) -> None:
    """Register the runs that were kept here because the registry did not answer, as challengers.

    Each is removed here once it is registered; sending again registers none twice. Exits 1
    when one could not be sent.

    Example: finsight models send
    """
    settings = Settings.load()
    unsent = open_unsent_runs(settings)
    sent: list[dict[str, Any]] = []
    for one in unsent.send(open_model_registry(settings)):
        made = one.reference
        sent.append(
            {
                "id": one.id,
                "kind": made.kind if made else None,
                "version": made.version if made else None,
                "problem": one.problem or None,
            }
        )
        if not as_json and made:
            console.print(f"{one.id} is {made.kind} version {made.version}", soft_wrap=True)
        if one.problem:
            errors.print(one.problem, soft_wrap=True, markup=False)
    if as_json:
        print_json({"sent": sent})
    elif not sent:
        console.print("no run waits to be sent")
    if any(one["problem"] for one in sent):
        raise typer.Exit(1)


def _promotion(settings: Settings) -> Promotion:
    return Promotion(
        open_model_registry(settings),
        open_candle_store(settings),
        open_article_store(settings),
        open_clock(settings),
        open_model_readers(settings),
        settings.forecasting.input_candles,
    )


def _tell(decision: Any, as_json: bool) -> None:
    if as_json:
        print_json(decision.model_dump(mode="json"))
    else:
        print_decision(decision)


def _texts(files: list[Path] | None, labels: str | None) -> list[LabelledText] | None:
    if not files:
        return None
    # Reading tables is of no use to the other commands, and takes a second to import.
    from finsight.training.sentiment_data import read_labelled_files

    return read_labelled_files(files, parse_label_order(labels) if labels else None)


def _checked(kind: str) -> str:
    """Raises: InvalidInput."""
    if not re.fullmatch(KIND_PATTERN, kind):
        raise InvalidInput(f"'{kind}' is no kind of model; kinds are sentiment, forecaster-1h, …")
    return kind


def _number(version: str) -> str:
    """Raises: InvalidInput."""
    if not re.fullmatch(r"[0-9]{1,9}", version):
        raise InvalidInput(
            f"'{version}' is no version; versions are numbers, which finsight models list shows"
        )
    return version


def _whoever_this_is() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        # In a container a user may have a number and no name.
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
