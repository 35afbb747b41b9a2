"""The groups of commands that train, search and judge models."""

from __future__ import annotations

import typer

train = typer.Typer(help="Train models.", no_args_is_help=True)
evaluate = typer.Typer(help="Judge models on data they were not trained on.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these groups to `app`, with the commands of each model."""
    # They name the groups above, so these must be there first.
    from finsight.commands import (  # noqa: F401
        forecaster_judging,
        forecaster_training,
        sentiment_training,
    )

    app.add_typer(train, name="train")
    app.add_typer(evaluate, name="evaluate")


@train.callback()
def _train_group() -> None:
    """Train models: forecasters on what is stored, sentiment on labelled texts."""


@evaluate.callback()
def _evaluate_group() -> None:
    """Judge models on data they were not trained on."""
