"""What to collect: a series of candles, or a news source, and whether it is running."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finsight.domain.candle import EXCHANGE_PATTERN, SYMBOL_PATTERN, Series
from finsight.domain.timeframe import AskedMoment, Timeframe


class CollectedSeries(BaseModel):
    """One series to keep up to date."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exchange: str = Field(
        pattern=EXCHANGE_PATTERN, description="ccxt's id of the venue", examples=["binance"]
    )
    symbol: str = Field(
        pattern=SYMBOL_PATTERN, description="ccxt's unified symbol", examples=["BTC/USDT"]
    )
    timeframe: Timeframe = Field(description="how long a candle lasts", examples=["1h"])
    since: AskedMoment = Field(
        default=datetime(2024, 1, 1, tzinfo=UTC),
        description="where the first backfill begins",
    )

    @property
    def series(self) -> Series:
        return Series(exchange=self.exchange, symbol=self.symbol, timeframe=self.timeframe)

    @property
    def id(self) -> str:
        """'candles:binance:BTC-USDT:1h'."""
        return f"candles:{self.series.key}"


class NewsFeed(BaseModel):
    """One news source to read. `coindesk` and `cointelegraph` need only a name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[a-z0-9_-]+$", description="how articles name their source", examples=["decrypt"]
    )
    kind: Literal["rss", "tavily"] = Field(default="rss", description="a feed, or Tavily search")
    url: str | None = Field(
        default=None, description="the feed's address; known for names ready-made"
    )
    query: str | None = Field(default=None, description="what a search source looks for")
    poll_s: float = Field(default=60.0, ge=1, le=86_400, description="seconds between two readings")

    @property
    def id(self) -> str:
        """'news:decrypt'."""
        return f"news:{self.name}"


class Collector(BaseModel):
    """One thing the platform collects: exactly one of `candles` and `news` is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    candles: CollectedSeries | None = None
    news: NewsFeed | None = None
    running: bool = True

    @model_validator(mode="after")
    def _is_one_thing(self) -> Collector:
        if (self.candles is None) == (self.news is None):
            raise ValueError("a collector has either candles or news, not both and not neither")
        return self

    @property
    def id(self) -> str:
        """'candles:binance:BTC-USDT:1h' or 'news:decrypt'."""
        what = self.candles or self.news
        assert what is not None
        return what.id
