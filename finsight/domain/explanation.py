"""Which part of its past a forecast leaned on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.timeframe import UtcDatetime


class SegmentEffect(BaseModel):
    """What one stretch of the past did to the forecast.

    Units:
        first, last: rows of the closes that were seen, 0 the oldest; both included.
        moved_percent: what the price did in it, from the close before it to its last.
        effect_percent: by how much the median at the horizon is higher (in log price,
            times 100) than it would be had the price stood still throughout the stretch.
        weight: this effect's share of all effects' sizes, in [0, 1].
        opened_from, opened_until: when its first and its last candle opened, where known.
    """

    model_config = ConfigDict(frozen=True)

    first: int = Field(ge=0)
    last: int = Field(ge=0)
    moved_percent: float
    effect_percent: float
    weight: float = Field(ge=0, le=1)
    opened_from: UtcDatetime | None = None
    opened_until: UtcDatetime | None = None


class ForecastExplanation(BaseModel):
    """The effects of every stretch of a model's window, oldest first.

    `on_last_close` is true where no stretch has any: the forecast is made from the last
    close alone, as naive's is.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    model_version: str
    horizon: int
    segments: tuple[SegmentEffect, ...]
    on_last_close: bool
