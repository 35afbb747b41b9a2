"""Training, validation and held-out parts, parted in time.

Purged and embargoed after López de Prado, Advances in Financial Machine Learning (2018),
chapter 7: a window whose future reaches over a boundary belongs to neither part (purged),
and the windows of the last `embargo` before a boundary are left out, because what
they answer still depends on what comes right after it. What a later window looks back on may
lie before the boundary: it was known by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from finsight.domain.errors import InvalidInput
from finsight.domain.history import History

TRAINING, VALIDATION, HELD_OUT, NEITHER = 0, 1, 2, -1

NAMED_SPLITS = {"ett-hour": (8640, 2880, 2880), "ett-minute": (34560, 11520, 11520)}
"""Rows of training, validation and test, as published results on the ETT files count them."""


@dataclass(frozen=True)
class TimeSplits:
    """The boundaries, one moment for all series: what one did must not teach another.

    Units:
        valid_from_ms, held_out_from_ms, ends_ms: UTC milliseconds; nothing at or after
            `ends_ms` is used.
        embargo_ms: milliseconds; how much before a boundary is left out.
    """

    valid_from_ms: int
    held_out_from_ms: int
    ends_ms: int
    embargo_ms: int

    def parts(self, first_ms: np.ndarray, last_ms: np.ndarray) -> np.ndarray:
        """Return the part of each window whose future opens from `first_ms` to `last_ms`."""
        part = np.full(first_ms.shape, NEITHER, dtype=np.int8)
        part[last_ms < self.valid_from_ms - self.embargo_ms] = TRAINING
        before_held_out = last_ms < self.held_out_from_ms - self.embargo_ms
        part[(first_ms >= self.valid_from_ms) & before_held_out] = VALIDATION
        part[(first_ms >= self.held_out_from_ms) & (last_ms < self.ends_ms)] = HELD_OUT
        return part


def split_by_share(histories: Mapping[str, History], share: float, horizon: int) -> TimeSplits:
    """Hold out the last `share` of the longest series, and validate on as much of the rest.

    Each of the two is at least four horizons long; the embargo is one.
    """
    longest = max(histories.values(), key=len)
    ts = longest.ts_ms
    held_out = _tail(len(ts), share, horizon)
    valid = _tail(len(ts) - held_out, share, horizon)
    return TimeSplits(
        valid_from_ms=int(ts[len(ts) - held_out - valid]),
        held_out_from_ms=int(ts[len(ts) - held_out]),
        ends_ms=max(int(history.ts_ms[-1]) for history in histories.values()) + 1,
        embargo_ms=horizon * longest.step_ms,
    )


def split_by_rows(histories: Mapping[str, History], rows: tuple[int, int, int]) -> TimeSplits:
    """Part after so many rows of training, validation and test, without an embargo.

    That is how published results are counted; rows after the test part are not used.
    Raises: InvalidInput (fewer rows than that).
    """
    longest = max(histories.values(), key=len)
    training, valid, held_out = rows
    if min(rows) < 1 or sum(rows) > len(longest):
        raise InvalidInput(
            f"the splits ask for {training} + {valid} + {held_out} rows, each at least 1, and "
            f"the longest series has {len(longest)}"
        )
    ts = longest.ts_ms
    return TimeSplits(
        valid_from_ms=int(ts[training]),
        held_out_from_ms=int(ts[training + valid]),
        ends_ms=int(ts[sum(rows) - 1]) + 1,
        embargo_ms=0,
    )


def _tail(rows: int, share: float, horizon: int) -> int:
    return min(max(int(rows * share), 4 * horizon), rows - 1)
