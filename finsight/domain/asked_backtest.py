"""A backtest as it is asked for over HTTP: stored candles, and strategies that are ours."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finsight.domain.backtest_record import BacktestRequest, Folds, Kind, Luck
from finsight.domain.candle import EXCHANGE_PATTERN, SYMBOL_PATTERN, Series
from finsight.domain.strategy import Costs, Direction, Execution, Sampling, Sizing, Stops
from finsight.domain.timeframe import AskedMoment, Timeframe

MOST_SETS = 5_000_000
"""Of a sweep that is asked for over HTTP; a file of your own on the command line takes more."""

MOST_VALUES = 10_000
_Name = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]


class Steps(BaseModel):
    """The values from `low` to `high`, both included, `step` apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    step: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def count(self) -> int:
        """How many values; 0 or less where `high` is below `low`."""
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def values(self) -> tuple[float, ...]:
        # Multiplied, not added up; rounded, so that 0.1 to 0.5 holds 0.3.
        return tuple(round(self.low + at * self.step, 12) for at in range(self.count()))


class AskedBacktest(BaseModel):
    """What to test, on which candles, how orders are executed and paid for.

    `grid` is for a sweep or a walk-forward: each parameter's values, or a range of them.
    A strategy of your own is not taken: code never comes over HTTP.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "backtest": "sweep",
                "exchange": "binance",
                "symbol": "BTC/USDT",
                "timeframe": "1h",
                "strategy": "ma_cross",
                "grid": {"fast": {"low": 5, "high": 55}, "slow": [50, 100, 200]},
            }
        },
    )

    backtest: Kind = Field(default="run", examples=["sweep"])
    exchange: str = Field(pattern=EXCHANGE_PATTERN, examples=["binance"])
    symbol: str = Field(pattern=SYMBOL_PATTERN, examples=["BTC/USDT"])
    timeframe: Timeframe
    start: AskedMoment | None = Field(default=None, description="candles from here on")
    end: AskedMoment | None = Field(default=None, description="up to here, not included")
    strategy: str = Field(default="ma_cross", pattern=r"^[a-z_]{1,40}$")
    parameters: dict[_Name, float] = Field(default_factory=dict)
    grid: dict[_Name, Steps | tuple[float, ...]] = Field(
        default_factory=dict, examples=[{"fast": {"low": 5, "high": 55}, "slow": [50, 100, 200]}]
    )
    sample: int | None = Field(default=None, ge=1, le=MOST_SETS)
    sampling: Sampling = Sampling.RANDOM
    seed: int = Field(default=0, ge=0)
    execution: Execution = Execution.NEXT_OPEN
    direction: Direction = Direction.LONG
    costs: Costs | Literal["venue"] = Field(
        default="venue", description="the venue's taker fee, or costs of your own"
    )
    stops: Stops = Stops()
    sizing: Sizing = Sizing()
    luck: Luck = Luck()
    folds: Folds | None = None

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        if self.backtest == "run" and self.grid:
            raise ValueError("a run has one value a parameter: put them in `parameters`")
        if self.backtest != "run" and not self.grid:
            raise ValueError(f"a {self.backtest} needs a `grid` to choose from")
        if self.backtest == "walk-forward" and self.folds is None:
            raise ValueError("a walk-forward needs `folds`: candles to train and to test on")
        for name, values in self.grid.items():
            count = values.count() if isinstance(values, Steps) else len(values)
            if not 1 <= count <= MOST_VALUES:
                raise ValueError(f"{name} has {count:,} values; 1 to {MOST_VALUES:,} are taken")
        sets = math.prod(
            values.count() if isinstance(values, Steps) else len(values)
            for values in self.grid.values()
        )
        if self.sample is None and sets > MOST_SETS:
            raise ValueError(
                f"the grid has {sets:,} parameter sets, more than the {MOST_SETS:,} that are taken "
                "over HTTP; ask for a sample, or take larger steps"
            )
        return self

    @property
    def series(self) -> Series:
        return Series(exchange=self.exchange, symbol=self.symbol, timeframe=self.timeframe)

    def request(self, costs: Costs) -> BacktestRequest:
        """The same as the engine takes it; `costs` are what "venue" stands for."""
        return BacktestRequest(
            kind=self.backtest,
            source=str(self.series),
            strategy=self.strategy,
            parameters=dict(self.parameters) if self.backtest == "run" else {},
            grid={
                **{name: (value,) for name, value in self.parameters.items() if self.grid},
                **{
                    name: values.values() if isinstance(values, Steps) else values
                    for name, values in self.grid.items()
                },
            },
            execution=self.execution,
            direction=self.direction,
            costs=costs,
            stops=self.stops,
            sizing=self.sizing,
            sample=self.sample,
            sampling=self.sampling,
            seed=self.seed,
            luck=self.luck,
            folds=self.folds,
        )


class BacktestProgress(BaseModel):
    """How far a backtest is; nothing is known of it before its first block is done."""

    model_config = ConfigDict(frozen=True)

    done: int = Field(ge=0, description="parameter sets that were tried")
    total: int = Field(ge=1)
    sets_per_s: float
    left_s: float | None = None


PROGRESS = "progress "
"""Begins the lines of a job's log that say how far it is."""


def progress_in(lines: list[str] | tuple[str, ...]) -> BacktestProgress | None:
    """The last progress that a log tells of, or None."""
    for line in reversed(lines):
        if line.startswith(PROGRESS):
            return BacktestProgress.model_validate_json(line.removeprefix(PROGRESS))
    return None
