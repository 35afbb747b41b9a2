"""What FinSight needs of anything that keeps forecasts and how they turned out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from finsight.domain.accuracy import ForecastError
from finsight.domain.candle import Series
from finsight.domain.forecast import Forecast


@dataclass(frozen=True)
class ScoredForecast:
    """A forecast, and how it turned out once its candles had closed."""

    forecast: Forecast
    error: ForecastError | None = None


class ForecastStore(Protocol):
    """Keeps forecasts by id, and one outcome for each. All methods raise `StoreUnavailable`."""

    async def save(self, forecasts: Sequence[Forecast]) -> None:
        """Store forecasts; one that is there already stays as it is."""
        ...

    async def get(self, forecast_id: str) -> ScoredForecast:
        """Raises: NotFound."""
        ...

    async def due(self, series: Series, until: datetime, limit: int) -> list[Forecast]:
        """Return unscored forecasts of `series` whose last candle opens before `until`."""
        ...

    async def save_errors(self, errors: Sequence[ForecastError]) -> None:
        """Store outcomes; a forecast that has one keeps it."""
        ...

    async def latest(self, series: Series) -> Forecast | None:
        """Return the answer with the newest origin, or None: never what a shadow made."""
        ...

    async def recent(self, series: Series | None, limit: int) -> list[ScoredForecast]:
        """Return answers, newest first; of every series when None. What shadows made is none."""
        ...

    async def errors(self, series: Series | None, since: datetime | None) -> list[ForecastError]:
        """Return outcomes by origin, oldest first; those of shadows too."""
        ...
