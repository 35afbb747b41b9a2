"""The `finsight` command: every verb, its help and its examples."""

from __future__ import annotations

import typer

from finsight.commands import (
    ask,
    backtesting,
    collecting,
    jobs,
    models,
    operating,
    settings_reference,
    starting,
    training,
)

app = typer.Typer(
    name="finsight",
    help="Watches crypto markets and reads their news, on your own machines.\n\n"
    "Start with `finsight demo`: the whole platform on recorded real data, offline.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
_GROUPS = (
    starting,
    operating,
    collecting,
    ask,
    backtesting,
    training,
    models,
    jobs,
    settings_reference,
)
for group in _GROUPS:
    group.register(app)
