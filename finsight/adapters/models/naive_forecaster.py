"""The naive forecaster: the last close stands, as wrongly as it stood before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from finsight.domain.errors import InvalidInput
from finsight.domain.forecast import QUANTILES
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ForecastInput

MIN_ERRORS = 30
"""The fewest past errors that intervals are read from."""

LOOKS_BACK = 1000
"""The newest closes that intervals are read from: older errors belong to other times."""

MAX_HORIZON = 720
_MEDIAN = QUANTILES.index(0.5)


class NaiveForecaster:
    """Implements `ports.models.Forecaster`: the baseline, and the last resort.

    The median is the last close at every step. The intervals of step k are quantiles of
    the errors, in log returns, that "the close k candles earlier" made over the newest
    `LOOKS_BACK` closes; they always hold the median, also where the history only rose or only fell.
    """

    name = "naive"
    version = "1"
    timeframe: Timeframe | None = None
    trained_on: frozenset[str] = frozenset()
    min_history = MIN_ERRORS + 1
    max_horizon = MAX_HORIZON

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        """As the port. A horizon of h needs `MIN_ERRORS + h` closes."""
        return [_forecast_one(request) for request in inputs]


def check_naive_input(request: ForecastInput) -> None:
    """Raises: InvalidInput (naive can't answer: says what it has and what it needs)."""
    horizon, closes = request.horizon, request.closes
    if not 1 <= horizon <= MAX_HORIZON:
        raise InvalidInput(f"the horizon must be 1 to {MAX_HORIZON} candles, not {horizon}")
    if len(closes) < MIN_ERRORS + horizon:
        raise InvalidInput(
            f"{request.series} has {len(closes)} usable candles; {horizon} candles ahead need at "
            f"least {MIN_ERRORS + horizon}: collect more history or ask for a shorter horizon"
        )
    if not (np.isfinite(closes).all() and (closes > 0).all()):
        raise InvalidInput(f"the closes of {request.series} must be positive numbers")


def _forecast_one(request: ForecastInput) -> np.ndarray:
    check_naive_input(request)
    logs = np.log(request.closes[-LOOKS_BACK:])
    # Each row ends at one past close and looks back over the `horizon` before it, so that
    # every step has the same number of errors, the newest among them.
    rows = sliding_window_view(logs, request.horizon + 1)
    errors = (rows[:, -1:] - rows[:, :-1])[:, ::-1]
    moves = np.quantile(errors, QUANTILES, axis=0).T
    moves[:, :_MEDIAN] = np.minimum(moves[:, :_MEDIAN], 0.0)
    moves[:, _MEDIAN] = 0.0
    moves[:, _MEDIAN + 1 :] = np.maximum(moves[:, _MEDIAN + 1 :], 0.0)
    prices: np.ndarray = request.closes[-1] * np.exp(moves)
    return prices
