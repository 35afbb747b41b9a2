"""The `finsight` command: every verb, its help and its examples."""

from __future__ import annotations

import sys

import typer

from finsight.commands import (
    ask,
    backtesting,
    collecting,
    operating,
    settings_reference,
    starting,
    training,
)
from finsight.commands.show import print_error
from finsight.domain.errors import FinSightError, InvalidInput, Misconfigured, NotFound

app = typer.Typer(
    name="finsight",
    help="Watches crypto markets and reads their news, on your own machines.\n\n"
    "Start with `finsight demo`: the whole platform on recorded real data, offline.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for group in (starting, operating, collecting, ask, backtesting, training, settings_reference):
    group.register(app)


def main() -> None:
    """Run a command; an error made on purpose is one line, never a traceback.

    Exit codes: 0 done; 1 it failed; 2 the caller's mistake; 130 stopped by Ctrl-C.
    """
    try:
        app()
    except FinSightError as exc:
        print_error(type(exc).__name__, str(exc))
        sys.exit(2 if isinstance(exc, InvalidInput | NotFound | Misconfigured) else 1)
    except OSError as exc:
        # A folder that can't be written, a full disk: said by the system well enough.
        print_error("Failed", str(exc))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
