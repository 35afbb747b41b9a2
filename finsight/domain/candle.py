"""A candle, and the series it belongs to."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe, UtcDatetime

Price = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Volume = Annotated[float, Field(ge=0, allow_inf_nan=False)]

EXCHANGE_PATTERN = r"^[a-z0-9]+$"
SYMBOL_PATTERN = r"^[A-Za-z0-9.]+/[A-Za-z0-9.]+(:[A-Za-z0-9.]+)?$"


class Series(BaseModel):
    """Which candles: one symbol, on one exchange, at one timeframe.

    `exchange` is ccxt's id ("binance"); `symbol` is ccxt's unified symbol
    ("BTC/USDT", or "BTC/USDT:USDT" for a perpetual settled in USDT).
    """

    model_config = ConfigDict(frozen=True)

    exchange: str = Field(pattern=EXCHANGE_PATTERN, examples=["binance"])
    symbol: str = Field(pattern=SYMBOL_PATTERN, examples=["BTC/USDT"])
    timeframe: Timeframe = Field(examples=["1h"])

    @property
    def key(self) -> str:
        """The name used in storage paths and records: 'binance:BTC-USDT:1h'."""
        return f"{self.exchange}:{self.folder_symbol}:{self.timeframe}"

    @property
    def folder_symbol(self) -> str:
        """`symbol` in characters that any file system takes: 'BTC-USDT', 'BTC-USDT_USDT'."""
        return self.symbol.replace("/", "-").replace(":", "_")

    @classmethod
    def from_key(cls, key: str) -> Series:
        """Read `key` back.

        Raises:
            InvalidInput: it is not of the form 'binance:BTC-USDT:1h'.
        """
        parts = key.split(":")
        if len(parts) != 3:
            raise InvalidInput(f"'{key}' is not a series key; expected, say, binance:BTC-USDT:1h")
        exchange, folder_symbol, timeframe = parts
        symbol = folder_symbol.replace("-", "/").replace("_", ":")
        try:
            return cls(exchange=exchange, symbol=symbol, timeframe=Timeframe(timeframe))
        except ValueError as exc:
            raise InvalidInput(f"'{key}' is not a series key: {exc}") from exc

    @property
    def base(self) -> str:
        """What is bought and sold: 'BTC' of 'BTC/USDT'."""
        return self.symbol.split("/")[0]

    def __str__(self) -> str:
        return f"{self.exchange} {self.symbol} {self.timeframe}"


class Candle(BaseModel):
    """What a symbol's price did between `opened_at` and one timeframe later.

    For the edges, where one candle is shown or checked; in bulk use `CandleTable`.

    Units:
        opened_at: the first instant covered, turned into UTC. The last is excluded.
        open, high, low, close: quote currency per one unit of base currency
            (for BTC/USDT: USDT per BTC).
        volume: units of base currency traded (for BTC/USDT: BTC).

    Prices are float64: exact enough to analyse, not to keep accounts with.

    Raises:
        pydantic.ValidationError: a price is not positive and finite, `high` is
            not the highest or `low` the lowest of the four, or `opened_at` has
            no time zone.
    """

    model_config = ConfigDict(frozen=True)

    opened_at: UtcDatetime
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Volume

    @model_validator(mode="after")
    def _high_and_low_bound_the_rest(self) -> Self:
        if self.high < max(self.open, self.close, self.low):
            raise ValueError(f"high {self.high} is below another price of the same candle")
        if self.low > min(self.open, self.close):
            raise ValueError(f"low {self.low} is above another price of the same candle")
        return self
