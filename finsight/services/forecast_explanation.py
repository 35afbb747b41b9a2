"""Which part of its past a forecast leaned on, by occlusion (Zeiler and Fergus 2014).

Each stretch of the window is replaced by "nothing happened": the price stands still
through it, and what came before is shifted so that it still joins up. The last close and
every other move stay as they were. How far the median at the horizon moves is the effect.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.explanation import ForecastExplanation, SegmentEffect
from finsight.domain.forecast import QUANTILES
from finsight.domain.timeframe import from_ms
from finsight.ports.models import Forecaster, ForecastInput

SEGMENT_CANDLES = 24
_MEDIAN = QUANTILES.index(0.5)
_NOTHING = 1e-9
"""Effects below this, in log price, are rounding."""


def explain_forecast(
    model: Forecaster, request: ForecastInput, segment: int = SEGMENT_CANDLES
) -> ForecastExplanation:
    """Ask `model` once, for the forecast and for it without each stretch, and compare.

    Stretches are `segment` candles long and end at the last close; the oldest may be
    shorter. Works for any forecaster.

    Raises: InvalidInput (as the model; a segment of no candles).
    """
    if segment < 1:
        raise InvalidInput(f"a segment must be at least 1 candle, not {segment}")
    closes = np.asarray(request.closes, np.float64)
    window = min(len(closes), max(model.min_history, segment))
    stretches = _stretches(len(closes), window, segment)
    asked = [request, *(replace(request, closes=_stilled(closes, *one)) for one in stretches)]
    medians = np.log([answer[-1, _MEDIAN] for answer in model.forecast(asked)])
    effects = medians[0] - medians[1:]
    effects[abs(effects) < _NOTHING] = 0.0
    total = float(abs(effects).sum())
    return ForecastExplanation(
        model=model.name,
        model_version=model.version,
        horizon=request.horizon,
        segments=tuple(
            SegmentEffect(
                first=first,
                last=last,
                moved_percent=100 * float(np.log(closes[last] / closes[max(first - 1, 0)])),
                effect_percent=100 * float(effect),
                weight=abs(float(effect)) / total if total else 0.0,
            )
            for (first, last), effect in zip(stretches, effects, strict=True)
        ),
        on_last_close=total == 0.0,
    )


def dated(explanation: ForecastExplanation, seen: CandleTable) -> ForecastExplanation:
    """Return it with the opening times of the candles that the closes came from."""
    ts = seen.ts_ms
    return explanation.model_copy(
        update={
            "segments": tuple(
                one.model_copy(
                    update={
                        "opened_from": from_ms(int(ts[one.first])),
                        "opened_until": from_ms(int(ts[one.last])),
                    }
                )
                for one in explanation.segments
            )
        }
    )


def _stretches(rows: int, window: int, segment: int) -> list[tuple[int, int]]:
    """Return (first, last) row of each stretch of the newest `window` rows, oldest first."""
    ends = range(rows - 1, rows - 1 - window, -segment)
    return [(max(end - segment + 1, rows - window), end) for end in ends][::-1]


def _stilled(closes: np.ndarray, first: int, last: int) -> np.ndarray:
    """Return the closes as if nothing had happened in rows `first` to `last`."""
    stilled = closes.copy()
    stilled[first : last + 1] = closes[last]
    if first > 0:
        # The closes before keep their moves among each other, and end where the calm begins.
        stilled[:first] = closes[:first] * (closes[last] / closes[first - 1])
    return stilled
