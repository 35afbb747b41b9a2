"""Means and deviations that remember what they were measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finsight.domain.errors import InvalidInput, LookedAhead
from finsight.domain.timeframe import from_ms

_LEAST_DEVIATION = 1e-9  # of a column that never moved: it must not divide by zero


@dataclass(frozen=True)
class FittedScale:
    """The mean and the deviation of each column over one span of time.

    Units:
        means, deviations: of the columns, in their order.
        fitted_from_ms, fitted_until_ms: UTC milliseconds of the first and the last row used.
    """

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    fitted_from_ms: int
    fitted_until_ms: int

    @classmethod
    def fit(cls, values: np.ndarray, ts_ms: np.ndarray) -> FittedScale:
        """Measure `values`, shape (rows, columns), which are of the moments `ts_ms`.

        Raises: InvalidInput (no rows).
        """
        if not len(values):
            raise InvalidInput("there is nothing to measure a scale on: the training part is empty")
        deviations = np.maximum(values.std(axis=0), _LEAST_DEVIATION)
        return cls(
            tuple(values.mean(axis=0).tolist()),
            tuple(deviations.tolist()),
            int(ts_ms.min()),
            int(ts_ms.max()),
        )

    def check(self, training_ends_ms: int) -> FittedScale:
        """Return itself, having seen nothing from `training_ends_ms` on. Raises: LookedAhead."""
        if self.fitted_until_ms >= training_ends_ms:
            raise LookedAhead(
                "a scale looks ahead: it was measured up to "
                f"{from_ms(self.fitted_until_ms).isoformat()}, and the training part ends at "
                f"{from_ms(training_ends_ms).isoformat()}; fit it on the training part alone"
            )
        return self

    def scale(self, values: np.ndarray, training_ends_ms: int) -> np.ndarray:
        """Return `values`, whose last axis is the columns, in deviations from the means.

        Raises: LookedAhead (fitted on more than the training part).
        """
        self.check(training_ends_ms)
        scaled: np.ndarray = (values - np.array(self.means)) / np.array(self.deviations)
        return scaled
