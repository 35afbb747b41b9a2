"""A backtest as it is asked for over HTTP: stored candles, and strategies that are ours."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finsight.domain.backtest_record import BacktestRequest, Folds, Luck, account_shares, weights_of
from finsight.domain.candle import EXCHANGE_PATTERN, SYMBOL_PATTERN, Series
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import (
    Costs,
    Direction,
    Execution,
    Sampling,
    Sizing,
    Stops,
    taker_fee,
)
from finsight.domain.timeframe import AskedMoment, Timeframe

MOST_SETS = 5_000_000
"""Of a sweep that is asked for over HTTP; a file of your own on the command line takes more."""

MOST_VALUES = 10_000
MOST_SERIES = 50
MOST_COSTS = 20
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
    With `more_series`, a sweep tries every set on each series, and a run puts them all on one
    account. A strategy of your own is not taken: code never comes over HTTP.
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

    backtest: Literal["run", "sweep", "walk-forward"] = Field(default="run", examples=["sweep"])
    exchange: str = Field(pattern=EXCHANGE_PATTERN, examples=["binance"])
    symbol: str = Field(pattern=SYMBOL_PATTERN, examples=["BTC/USDT"])
    timeframe: Timeframe
    more_series: tuple[Series, ...] = Field(
        default=(),
        max_length=MOST_SERIES - 1,
        description="further series of a sweep, or of a run on one account",
    )
    weights: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict,
        description="of a run of several series: each one's share of the account, by a part of "
        "its name; unset: equal shares",
        examples=[{"BTC/USDT": 0.6, "ETH/USDT": 0.4}],
    )
    rebalance: int | None = Field(
        default=None,
        ge=1,
        description="of a run of several series: candles after which they are brought back "
        "to their weights",
    )
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
    costs: Literal["venue"] | Costs | tuple[Costs, ...] = Field(
        default="venue",
        description="the venue's taker fee, or costs of your own; a sweep tries each of several",
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
        tried = min(self.sample or sets, sets) * len(self.series) * max(1, len(self._own_costs))
        if tried > MOST_SETS:
            raise ValueError(
                f"{tried:,} parameter sets would be tried, more than the {MOST_SETS:,} that are "
                "taken over HTTP; ask for a smaller sample, or take larger steps"
            )
        return self

    @model_validator(mode="after")
    def _series_and_costs_go_together(self) -> Self:
        named = [str(one) for one in self.series]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice")
        several = len(named) > 1
        if several and self.backtest == "walk-forward":
            raise ValueError(f"a walk-forward takes one series, and {len(named)} are named")
        if (self.weights or self.rebalance) and not (several and self.backtest == "run"):
            raise ValueError(
                "`weights` and `rebalance` are for a run of several series on one account"
            )
        if several and self.backtest == "run" and self.sizing != Sizing():
            raise ValueError("on one account of several series, `weights` say how much is bought")
        if isinstance(self.costs, tuple) and (
            self.backtest != "sweep" or not 1 <= len(self.costs) <= MOST_COSTS
        ):
            raise ValueError(f"several `costs` are for a sweep, 1 to {MOST_COSTS} of them")
        try:
            # What would be wrong when it begins is said now.
            self.request()
        except InvalidInput as exc:
            raise ValueError(str(exc)) from exc
        return self

    @property
    def series(self) -> tuple[Series, ...]:
        first = Series(exchange=self.exchange, symbol=self.symbol, timeframe=self.timeframe)
        return (first, *self.more_series)

    @property
    def _own_costs(self) -> tuple[Costs, ...]:
        if isinstance(self.costs, tuple):
            return self.costs
        return (self.costs,) if isinstance(self.costs, Costs) else ()

    def request(self) -> BacktestRequest:
        """The same as the engine takes it.

        Raises:
            InvalidInput: the series' venues take different fees and no costs are said, or a
                weight is of no series, or they are more than the whole account.
        """
        named = [str(one) for one in self.series]
        costs = self._own_costs or (Costs(fee=taker_fee([one.exchange for one in self.series])),)
        together = self.backtest == "run" and len(named) > 1
        weights = weights_of(self.weights, named)
        account_shares(named, weights or None)
        return BacktestRequest(
            kind="together" if together else self.backtest,
            source=", ".join(named),
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
            costs=costs[0],
            costs_tried=costs if len(costs) > 1 else (),
            stops=self.stops,
            sizing=self.sizing,
            weights=weights,
            rebalance=self.rebalance,
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
