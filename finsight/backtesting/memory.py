"""How much memory a sweep may take, shared out before it starts."""

from __future__ import annotations

import ctypes
import sys

from finsight.domain.errors import InvalidInput

_KEPT_BYTES = 1 << 30
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

_COLUMNS = 64
"""Of a finished row, parameters included; there are some forty, and some room."""

LEAST_ROWS = 8
"""Indicator rows that an engine holds at least, whatever it is allowed."""

_A_SET = 2048
"""Of a set that a worker is at: its values, its sums and its figures, and room to make them."""

_ROOM = 32 * 2**20
"""For statistics on the way and what allocators keep back."""

_THREAD_COLUMNS = 8
"""Of the candles' length, in each thread: an indicator on the way, sixteen sets' signals."""

_CANDLE_COLUMNS = 10
"""Of candles and what the kernel makes of them, once a worker."""


def keep_what_is_freed() -> None:
    """Let this process keep freed arrays instead of giving them back to the system.

    A block's indicator rows are freed with it and wanted again by the next one. Got anew,
    each page is a fault, in which a worker spent a twentieth of its time. For processes of
    ours alone; glibc only, elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)


def tables_within(
    memory_bytes: int,
    sets: int,
    block: int,
    candles: int,
    table_bytes: int,
    *,
    workers: int,
    threads: int,
) -> int:
    """Return how large each worker's indicator tables may be so that all stays below the limit.

    The limit is on what the sweep adds to the processes that are there: rows of results,
    candles, what is noted of the sets of a block, what each thread has under way, and
    indicator tables, in bytes. `table_bytes` is never exceeded. `workers` are the processes
    on one machine, `threads` those of each.

    Raises:
        InvalidInput: it is too little (says for what, and how much is enough).
    """
    rows = sets * _COLUMNS * 8
    a_row = candles * 8
    columns = _CANDLE_COLUMNS + threads * _THREAD_COLUMNS
    fixed = _ROOM + rows + workers * (columns * a_row + min(block, sets) * _A_SET)
    least = fixed + workers * LEAST_ROWS * a_row
    if memory_bytes < least:
        raise InvalidInput(
            f"a sweep of {sets:,} sets over {candles:,} candles (workers: {workers}, threads in "
            f"each: {threads}) takes at least {_mib(least)} of memory, {_mib(rows)} of them for "
            f"its rows, and is allowed {_mib(memory_bytes)}; allow more, or sample fewer sets"
        )
    return min(table_bytes, (memory_bytes - fixed) // workers)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
