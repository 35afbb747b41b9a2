"""How wrong forecasts were, beside the naive one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.candle import Series
from finsight.domain.timeframe import UtcDatetime


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
