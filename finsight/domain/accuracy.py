"""How wrong forecasts were, beside the naive one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.forecast import Forecast, ForecastStep, Role
from finsight.domain.timeframe import Timeframe, UtcDatetime, to_ms

_Z_95 = 1.959963984540054  # the normal quantile of a two-sided 95 % interval


class ForecastError(BaseModel):
    """How one forecast turned out, over the candles of its horizon that were traded.

    Units:
        mae, naive_mae: mean absolute error of the median, in quote currency.
        mase: `mae` over the in-sample mean absolute one-step change (Hyndman and
            Koehler 2006, "Another look at measures of forecast accuracy").
        coverage_80, coverage_95: share of closes inside the interval, in [0, 1].
        direction_right: whether the last close moved the way the median said;
            None when either did not move.
    """

    model_config = ConfigDict(frozen=True)

    forecast_id: str
    series: Series
    model: str
    model_version: str
    origin: UtcDatetime
    horizon: int = Field(ge=1)
    candles: int = Field(ge=1, description="how many of the horizon's candles there were")
    mae: float = Field(ge=0)
    naive_mae: float = Field(ge=0)
    mase: float | None = Field(default=None, ge=0)
    naive_mase: float | None = Field(default=None, ge=0)
    coverage_80: float = Field(ge=0, le=1)
    coverage_95: float = Field(ge=0, le=1)
    direction_right: bool | None = None
    scored_at: UtcDatetime
    role: Role = Field(default=Role.CHAMPION, description="as what the model answered")


class AccuracyRecord(BaseModel):
    """How many forecasts turned out together; `series`, `model` and `role` None mean "all of them".

    Units:
        mean_mase, mean_naive_mase: mean over the forecasts that have a scale.
        ratio_to_naive: `mean_mase` over `mean_naive_mase`; below 1 is better than naive.
        coverage_80, coverage_95: share of candles inside the interval, each candle
            counted once; 0.80 and 0.95 are right.
        direction_share: share of the forecasts with a direction that had it right, with
            its 95 % Wilson interval; a coin reaches 0.5.
    """

    model_config = ConfigDict(frozen=True)

    series: Series | None = None
    model: str | None = None
    model_version: str | None = None
    forecasts: int = Field(ge=1)
    candles: int = Field(ge=1)
    first_origin: UtcDatetime
    last_origin: UtcDatetime
    mean_mase: float | None = None
    mean_naive_mase: float | None = None
    ratio_to_naive: float | None = None
    coverage_80: float
    coverage_95: float
    directions: int = Field(ge=0, description="forecasts that said up or down, and it moved")
    direction_share: float | None = None
    direction_low: float | None = None
    direction_high: float | None = None
    role: Role | None = Field(default=None, description="as what the model answered")


def one_step_scale(history: CandleTable, timeframe: Timeframe) -> float | None:
    """Return the mean absolute change of the close from one candle to the next.

    Only neighbours count: a change over a gap is not one step. None when there is
    no such change or the price never moved.
    """
    ts, closes = history.ts_ms, history.column("close")
    if len(ts) < 2:
        return None
    neighbours = ts[1:] == timeframe.next_ms(ts[:-1])
    changes = np.abs(np.diff(closes))[neighbours]
    scale = float(changes.mean()) if len(changes) else 0.0
    return scale if scale > 0 else None


def score_forecast(
    forecast: Forecast, candles: CandleTable, scale: float | None, scored_at: datetime
) -> ForecastError | None:
    """Compare `forecast` with those of its candles that are in `candles` (closed ones only).

    A candle that is missing is not counted and not filled. `scale` is `one_step_scale`
    of the history before the forecast. None when no candle of the horizon is there.
    """
    wanted = np.array([to_ms(step.opened_at) for step in forecast.steps], dtype=np.int64)
    _, steps, rows = np.intersect1d(wanted, candles.ts_ms, assume_unique=True, return_indices=True)
    if not len(steps):
        return None
    closes = candles.column("close")[rows]

    def values(of: str, path: tuple[ForecastStep, ...] = forecast.steps) -> np.ndarray:
        return np.array([getattr(path[i], of) for i in steps])

    median = values("median")
    mae = float(np.abs(closes - median).mean())
    naive_mae = float(np.abs(closes - values("median", forecast.naive)).mean())
    inside_80 = (values("low_80") <= closes) & (closes <= values("high_80"))
    inside_95 = (values("low_95") <= closes) & (closes <= values("high_95"))
    said = np.sign(median[-1] - forecast.last_close)
    moved = np.sign(closes[-1] - forecast.last_close)
    return ForecastError(
        forecast_id=forecast.id,
        series=forecast.series,
        model=forecast.model,
        model_version=forecast.model_version,
        origin=forecast.origin,
        horizon=forecast.horizon,
        candles=len(steps),
        mae=mae,
        naive_mae=naive_mae,
        mase=mae / scale if scale else None,
        naive_mase=naive_mae / scale if scale else None,
        coverage_80=float(inside_80.mean()),
        coverage_95=float(inside_95.mean()),
        direction_right=bool(said == moved) if said and moved else None,
        scored_at=scored_at,
        role=forecast.role,
    )


def wilson_interval(right: int, of: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of the share `right / of`; `of` is at least 1."""
    share, z2 = right / of, _Z_95**2
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z_95 / (1 + z2 / of) * np.sqrt(share * (1 - share) / of + z2 / (4 * of**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def summarise(
    errors: Sequence[ForecastError],
    series: Series | None = None,
    model: str | None = None,
    model_version: str | None = None,
    role: Role | None = None,
) -> AccuracyRecord:
    """Sum up at least one outcome; the names are those the caller grouped by."""
    scaled = [(e.mase, e.naive_mase) for e in errors if e.mase is not None]
    mase = float(np.mean([m for m, _ in scaled])) if scaled else None
    naive = float(np.mean([n for _, n in scaled if n is not None])) if scaled else None
    candles = np.array([e.candles for e in errors])
    directions = [e.direction_right for e in errors if e.direction_right is not None]
    right = sum(directions)
    low, high = wilson_interval(right, len(directions)) if directions else (None, None)
    return AccuracyRecord(
        series=series,
        model=model,
        model_version=model_version,
        forecasts=len(errors),
        candles=int(candles.sum()),
        first_origin=min(e.origin for e in errors),
        last_origin=max(e.origin for e in errors),
        mean_mase=mase,
        mean_naive_mase=naive,
        ratio_to_naive=mase / naive if mase is not None and naive else None,
        coverage_80=float(np.average([e.coverage_80 for e in errors], weights=candles)),
        coverage_95=float(np.average([e.coverage_95 for e in errors], weights=candles)),
        directions=len(directions),
        direction_share=right / len(directions) if directions else None,
        direction_low=low,
        direction_high=high,
        role=role,
    )


def accuracy_records(errors: Sequence[ForecastError]) -> list[AccuracyRecord]:
    """Return one record per series, model, version and role, sorted by those."""
    groups: dict[tuple[str, str, str, Role], list[ForecastError]] = {}
    for error in errors:
        key = (error.series.key, error.model, error.model_version, error.role)
        groups.setdefault(key, []).append(error)
    return [
        summarise(group, group[0].series, model, version, role)
        for (_, model, version, role), group in sorted(groups.items())
    ]
