"""Where the `finsight` command begins, and how it ends."""

from __future__ import annotations

import sys

from finsight.domain.errors import FinSightError, InvalidInput, Misconfigured, NotFound

FAILED, CALLERS_MISTAKE, INTERRUPTED = 1, 2, 130


def main() -> None:
    """Run a command; an error made on purpose is one line, never a traceback.

    Exit codes: 0 done; 1 it failed; 2 the caller's mistake; 130 stopped by Ctrl-C.
    """
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run() -> None:
    # Imported here, for it takes a second, and Ctrl-C may come in it.
    from finsight.commands.application import app
    from finsight.commands.show import print_error

    try:
        app()
    except FinSightError as exc:
        print_error(type(exc).__name__, str(exc))
        is_callers = isinstance(exc, InvalidInput | NotFound | Misconfigured)
        sys.exit(CALLERS_MISTAKE if is_callers else FAILED)
    except OSError as exc:
        # A folder that can't be written, a full disk: said by the system well enough.
        print_error("Failed", str(exc))
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
