"""Forecasts: made on request, listed, and held against what happened."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from finsight.deployments.http_ports import HttpPorts, Ports
from finsight.domain.accuracy import AccuracyRecord, ForecastError
from finsight.domain.candle import EXCHANGE_PATTERN, SYMBOL_PATTERN, Candle, Series
from finsight.domain.errors import InvalidInput, StoreUnavailable
from finsight.domain.forecast import Forecast
from finsight.domain.sentiment import TrendPoint
from finsight.domain.timeframe import AskedMoment, Timeframe
from finsight.ports.events import EventBus
from finsight.ports.forecasts import ScoredForecast
from finsight.services.forecast_scoring import ForecastScoring
from finsight.services.forecasting import MAX_HORIZON, Forecasting

router = APIRouter(prefix="/predictions", tags=["predictions"])

SHOWN_CANDLES = 48
RECORD_SPAN = timedelta(days=90)
"""The record shown without `since`: every forecast ever made would be more each hour."""


class ForecastBody(BaseModel):
    """Which series to forecast, and how many candles ahead."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "exchange": "binance",
                "symbol": "BTC/USDT",
                "timeframe": "1h",
                "horizon": 24,
            }
        },
    )

    exchange: str = Field(pattern=EXCHANGE_PATTERN)
    symbol: str = Field(pattern=SYMBOL_PATTERN)
    timeframe: Timeframe
    horizon: int | None = Field(
        default=None, ge=1, le=MAX_HORIZON, description="candles ahead; the settings' when left out"
    )


class ForecastMadeAnswer(BaseModel):
    """A forecast with its intervals, beside the naive one, and what it was made from."""

    forecast: Forecast
    notes: list[str] = Field(description="what a reader must know: data that is old or missing")
    candles: list[Candle] = Field(description="the newest candles it was made from, oldest first")
    sentiment: list[TrendPoint] = Field(description="the trend of the base currency's news")


class ForecastAndOutcome(BaseModel):
    """A forecast, and how it turned out once its candles had closed."""

    forecast: Forecast
    outcome: ForecastError | None


class ForecastList(BaseModel):
    predictions: list[ForecastAndOutcome]


class AccuracyAnswer(BaseModel):
    """How forecasts turned out, per series and model, beside the naive one."""

    records: list[AccuracyRecord]


OptionalExchange = Annotated[str | None, Query(pattern=EXCHANGE_PATTERN, examples=["binance"])]
OptionalSymbol = Annotated[str | None, Query(pattern=SYMBOL_PATTERN, examples=["BTC/USDT"])]


@router.post("")
async def make_forecast(ports: Ports, body: ForecastBody) -> ForecastMadeAnswer:
    """Forecast the next candles of a series, now.

    The answer says which model made it and why; where none fits, the naive one
    answers and says so.
    """
    settings = ports.settings.forecasting
    forecasting = Forecasting(
        candles=ports.candles,
        articles=ports.articles,
        forecasts=ports.forecasts,
        bus=_bus_if_running(ports),
        forecaster=ports.forecaster,
        clock=ports.clock,
        input_candles=settings.input_candles,
    )
    series = Series(exchange=body.exchange, symbol=body.symbol, timeframe=body.timeframe)
    answer = await forecasting.forecast(series, body.horizon or settings.horizon)
    return ForecastMadeAnswer(
        forecast=answer.forecast,
        notes=list(answer.notes),
        candles=list(answer.candles.tail(SHOWN_CANDLES)),
        sentiment=list(answer.trend),
    )


@router.get("")
async def list_forecasts(
    ports: Ports,
    exchange: OptionalExchange = None,
    symbol: OptionalSymbol = None,
    timeframe: Timeframe | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 20,
) -> ForecastList:
    """Forecasts made lately, newest first, with how they turned out."""
    series = _series_or_all(exchange, symbol, timeframe)
    recent = await ports.forecasts.recent(series, limit)
    return ForecastList(predictions=[_with_outcome(scored) for scored in recent])


@router.get("/accuracy")
async def forecast_accuracy(
    ports: Ports,
    exchange: OptionalExchange = None,
    symbol: OptionalSymbol = None,
    timeframe: Timeframe | None = None,
    since: Annotated[
        AskedMoment | None,
        Query(description="origins from then on; the last 90 days when left out"),
    ] = None,
) -> AccuracyAnswer:
    """The record: errors against naive, coverage of the intervals, direction."""
    scoring = ForecastScoring(ports.candles, ports.forecasts, ports.clock)
    series = _series_or_all(exchange, symbol, timeframe)
    return AccuracyAnswer(
        records=await scoring.record(series, since or ports.clock.now() - RECORD_SPAN)
    )


@router.get("/{forecast_id}")
async def one_forecast(
    ports: Ports, forecast_id: Annotated[str, Path(max_length=100)]
) -> ForecastAndOutcome:
    """One forecast by its id, with how it turned out."""
    return _with_outcome(await ports.forecasts.get(forecast_id))


def _bus_if_running(ports: HttpPorts) -> EventBus | None:
    try:
        return ports.bus.get()
    except StoreUnavailable:
        # Nobody can be told of the forecast now, but whoever asked for it gets it.
        return None


def _series_or_all(
    exchange: str | None, symbol: str | None, timeframe: Timeframe | None
) -> Series | None:
    if exchange is None and symbol is None and timeframe is None:
        return None
    if exchange is None or symbol is None or timeframe is None:
        raise InvalidInput("give exchange, symbol and timeframe together, or none of them")
    return Series(exchange=exchange, symbol=symbol, timeframe=timeframe)


def _with_outcome(scored: ScoredForecast) -> ForecastAndOutcome:
    return ForecastAndOutcome(forecast=scored.forecast, outcome=scored.error)
