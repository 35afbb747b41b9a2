"""What FinSight needs of models that say why."""

from typing import Protocol

from finsight.domain.explanation import ForecastExplanation
from finsight.ports.models import ForecastInput, ForecastService


class ForecastExplainer(Protocol):
    """Says which part of its past a shared forecaster leans on."""

    async def explain(self, request: ForecastInput) -> ForecastExplanation:
        """Explain what the champion, else naive, answers to `request`.

        Raises: InvalidInput (as `ForecastService.forecast`).
        """
        ...


class ExplainingForecasts(ForecastService, ForecastExplainer, Protocol):
    """Forecasts, and says why."""
