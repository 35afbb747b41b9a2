"""What `finsight backtest` prints, read by tests."""

import re
from collections.abc import Callable

Backtest = Callable[..., str]
"""Runs `finsight backtest …` and returns what it printed: the fixture `backtest`."""


def first_id(printed: str) -> str:
    """The id under which a backtest says that it was kept."""
    found = re.search(r"finsight backtest show (bt-[0-9a-f]{8})", printed)
    assert found, printed
    return found.group(1)
