"""Values beside candles, each with the moment from which it was known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finsight.domain.errors import InvalidInput

SENTIMENT, FORECAST = "sentiment", "forecast"


class KnownValues(NamedTuple):
    """Values and when each became known, oldest first.

    Units: known_at_ms in UTC milliseconds. A sentiment is a score in [-1, 1], an article
    each; a forecast is the expected log return from the last close it saw to its horizon.
    """

    known_at_ms: np.ndarray
    values: np.ndarray

    @classmethod
    def none(cls) -> KnownValues:
        return cls(np.empty(0, dtype=np.int64), np.empty(0))

    @classmethod
    def from_arrow(cls, table: pa.Table, what: str) -> KnownValues:
        """Take the columns `known_at` (a timestamp, or UTC milliseconds) and `value`.

        Raises: InvalidInput (a column is missing, a time or a value is not there).
        """
        absent = {"known_at", "value"} - set(table.column_names)
        if absent:
            raise InvalidInput(
                f"the {what} needs the columns known_at and value; it has "
                f"{', '.join(table.column_names) or 'none'}"
            )
        known_at = table.column("known_at")
        if pa.types.is_timestamp(known_at.type):
            known_at = known_at.cast(pa.timestamp("ms", tz=known_at.type.tz), safe=False)
        elif not pa.types.is_integer(known_at.type):
            raise InvalidInput(
                f"the {what}'s known_at must be timestamps or UTC milliseconds, not {known_at.type}"
            )
        if known_at.null_count:
            raise InvalidInput(f"the {what} has {known_at.null_count} rows without a known_at")
        values = np.asarray(pc.cast(table.column("value"), pa.float64()).to_numpy())
        odd = np.flatnonzero(~np.isfinite(values))
        if len(odd):
            raise InvalidInput(
                f"the {what}'s value in row {odd[0]} is {values[odd[0]]}, expected a finite number"
            )
        times = np.asarray(known_at.cast(pa.int64()).to_numpy())
        order = np.argsort(times, kind="stable")
        return cls(times[order], values[order])

    def to_arrow(self) -> pa.Table:
        """The table that `from_arrow` takes."""
        times = pa.array(self.known_at_ms, pa.timestamp("ms", tz="UTC"))
        return pa.table({"known_at": times, "value": self.values})

    def until(self, moment_ms: int) -> KnownValues:
        """What was known at or before `moment_ms`."""
        stop = int(np.searchsorted(self.known_at_ms, moment_ms, side="right"))
        return KnownValues(self.known_at_ms[:stop].copy(), self.values[:stop].copy())


@dataclass(frozen=True)
class Beside:
    """Candles, with what else was known while they formed. `candles` as the engine takes them."""

    candles: Any
    known: Mapping[str, KnownValues]


def with_known(
    candles: Any,
    *,
    sentiment: KnownValues | pa.Table | None = None,
    forecast: KnownValues | pa.Table | None = None,
) -> Any:
    """Put values beside `candles`; whatever takes candles takes the result.

    A table has the columns `known_at` and `value`. Raises: InvalidInput.
    """
    given = {SENTIMENT: sentiment, FORECAST: forecast}
    known = {
        kind: values if isinstance(values, KnownValues) else KnownValues.from_arrow(values, kind)
        for kind, values in given.items()
        if values is not None
    }
    return Beside(candles, known) if known else candles
