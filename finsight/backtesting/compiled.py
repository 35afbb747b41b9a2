"""How the engine's inner loops become machine code."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])
_DECORATED = re.compile(rb"^@(compiled|uncounted|inlined)$", re.MULTILINE)


def compiled(function: F) -> F:
    """Compile `function` with numba: without the interpreter lock, kept on disk between runs.

    No fast-math: the same input gives the same bits, in whichever block or thread a
    parameter set is computed. Division follows IEEE 754 (1/0 is infinite), not Python.
    """
    return _compiled(function, counts_references=True, within_the_caller=False)


def uncounted(function: F) -> F:
    """As `compiled`, for what makes no array of its own: references are not counted.

    numba counts them with atomic steps, a dozen a trade, which took two thirds of the kernel's
    time where a strategy traded often. The caller holds the arrays, so that nothing is lost
    by not counting.
    """
    return _compiled(function, counts_references=False, within_the_caller=False)


def inlined(function: F) -> F:
    """As `uncounted`, for what is called once a trade: it becomes part of its caller's code."""
    return _compiled(function, counts_references=False, within_the_caller=True)


def _compiled(function: F, counts_references: bool, within_the_caller: bool) -> F:
    options: dict[str, Any] = {
        "nogil": True,
        "cache": True,
        "error_model": "numpy",
        "forceinline": within_the_caller,
        "_nrt": counts_references,  # numba's runtime, which counts; documented in its code alone
    }
    dispatcher: Any = njit(**options)(function)
    # numba looks only at the function's own file when it judges whether the copy on disk
    # is stale. These functions call each other across files.
    dispatcher._cache._cache_file._source_stamp = _digest(compiled_only=True)
    compiled_function: F = dispatcher
    return compiled_function


def engine_version() -> str:
    """The digest of the engine's own source, kept with every result: same digest, same figures."""
    return _digest(compiled_only=False)[:16]


@cache
def _digest(compiled_only: bool) -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content = path.read_bytes()
        if _DECORATED.search(content) or not compiled_only:
            digest.update(content)
    return digest.hexdigest()
