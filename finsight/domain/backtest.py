"""What a backtest found: statistics, trades, equity, and what made it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.strategy import Costs, Direction, Execution, Sizing, Stops

METADATA_KEY = b"finsight"


class MissingCandles(BaseModel):
    """What a history lacks between its first and its last candle. Nothing was filled in.

    A position is held across a hole, indicators count candles and not hours, and an order
    after a hole fills at the first price there is.
    """

    model_config = ConfigDict(frozen=True)

    candles: int = Field(ge=0, description="how many candles are missing")
    holes: int = Field(ge=0, description="in how many places")
    longest: int = Field(ge=0, description="candles in the longest hole")


class LookAhead(BaseModel):
    """Whether a strategy used candles from after the moment it judged.

    `found` is None where the check was not made. `candle`, `input` and `detail` name the
    first signal that changes when later candles are taken away.
    """

    model_config = ConfigDict(frozen=True)

    found: bool | None = None
    histories: int = Field(default=0, ge=0, description="truncated histories compared")
    candle: int | None = None
    input: str | None = None
    detail: str = ""


class Provenance(BaseModel):
    """What made a result: with the same of all of these, the figures are the same bits."""

    model_config = ConfigDict(frozen=True)

    strategy: str
    execution: Execution
    direction: Direction
    costs: Costs
    stops: Stops
    sizing: Sizing
    seed: int | None = None
    candles: int
    data_fingerprint: str
    engine_version: str
    first_opened_ms: int
    last_opened_ms: int
    missing: MissingCandles
    look_ahead: LookAhead = LookAhead()


@dataclass(frozen=True)
class RunResult:
    """One strategy with one parameter set, in full.

    trades: a row a trade: times, side (1 long, -1 short), size, prices, fees, pnl, return,
        and whether it was still open at the end (then valued at the last close).
    equity: a row a candle: `ts`, `equity` at the close, `drawdown` from the highest so far.
    one_candle_late: the statistics had every order been executed a candle later. What is
        gone then was never there to be earned.
    """

    parameters: dict[str, float]
    statistics: dict[str, float]
    trades: pa.Table
    equity: pa.Table
    provenance: Provenance
    one_candle_late: dict[str, float]


@dataclass(frozen=True)
class WalkForwardResult:
    """Parameters chosen on the past, judged on the stretch after it, again and again.

    statistics, trades, equity: out of sample alone, as one account over all stretches.
    folds: a row a stretch: its times, the parameters chosen, the metric in and out of sample.
    """

    statistics: dict[str, float]
    trades: pa.Table
    equity: pa.Table
    folds: pa.Table
    metric: str
    provenance: Provenance
    notes: dict[str, float] = field(default_factory=dict)


def with_metadata(table: pa.Table, values: dict[str, Any]) -> pa.Table:
    """Return `table` carrying `values` (plain JSON) under FinSight's metadata key."""
    kept = dict(table.schema.metadata or {})
    return table.replace_schema_metadata({**kept, METADATA_KEY: json.dumps(values).encode()})


def metadata_of(table: pa.Table) -> dict[str, Any]:
    """What `with_metadata` stored, or nothing."""
    stored = (table.schema.metadata or {}).get(METADATA_KEY)
    values: dict[str, Any] = json.loads(stored) if stored else {}
    return values
