"""A backtest that somebody asked for, and what is kept of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.backtest import Provenance
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Direction, Execution, Sampling, Sizing, Stops
from finsight.domain.timeframe import UtcDatetime

Kind = Literal["run", "sweep", "walk-forward", "together"]


@dataclass(frozen=True)
class SweepMeans:
    """What a sweep may use; none of it changes a figure.

    parts: the folder that blocks are kept in as soon as they are done, to go on from with
        `resume`.
    memory_bytes: all that it may take on the machine; None sets no limit.
    """

    parts: Path | None = None
    resume: bool = False
    memory_bytes: int | None = None


WITHOUT_LIMIT = SweepMeans()


class Luck(BaseModel):
    """How hard a sweep tries to find out whether its winner is luck.

    sets: parameter sets that the two slow figures look at, a sample of the grid.
    shuffles: histories in another order, each searched again; 0 leaves the test out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sets: int = Field(default=500, ge=2, le=5_000)
    shuffles: int = Field(default=39, ge=0, le=10_000)


class Folds(BaseModel):
    """How a walk-forward is cut; lengths in candles, as `backtesting.walk_forward` takes them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int
    test: int
    purge: int = 0
    embargo: int = 0
    anchored: bool = False
    metric: str = "sharpe"


class BacktestRequest(BaseModel):
    """Everything that decides a backtest's figures, but for the candles and the code.

    source: where the candles came from, in words. parameters: of a run. grid: of a sweep
    or a walk-forward, each parameter's values. costs_tried: of a sweep that compares costs;
    empty where `costs` are all. weights, rebalance: of several symbols together on one
    account, each symbol's share of it (empty: equal ones) and the candles after which they
    are brought back to these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    source: str
    strategy: str
    parameters: dict[str, float] = {}
    grid: dict[str, tuple[float, ...]] = {}
    execution: Execution = Execution.NEXT_OPEN
    direction: Direction = Direction.LONG
    costs: Costs = Costs()
    costs_tried: tuple[Costs, ...] = ()
    stops: Stops = Stops()
    sizing: Sizing = Sizing()
    weights: dict[str, float] = {}
    rebalance: int | None = None
    sample: int | None = None
    sampling: Sampling = Sampling.RANDOM
    seed: int = 0
    luck: Luck = Luck()
    folds: Folds | None = None

    @property
    def rules(self) -> dict[str, Any]:
        """How orders are executed and paid for, as the engine's functions take it."""
        return {
            "execution": self.execution,
            "direction": self.direction,
            "costs": self.costs,
            "stops": self.stops,
            "sizing": self.sizing,
        }


class BacktestRecord(BaseModel):
    """A backtest as it is kept: what was asked, what made it, its figures.

    figures: plain JSON; a statistic that is not defined is null. Which names there are
    depends on the kind; all have `statistics`, `buy_and_hold` and `one_candle_late`.
    tables: the names of the tables kept beside it. saw: the fingerprint of each series'
    candles, by its name; empty in records of one series made before there could be several.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    made_at: UtcDatetime
    request: BacktestRequest
    provenance: Provenance
    figures: dict[str, Any]
    tables: tuple[str, ...] = ()
    saw: dict[str, str] = {}

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each series' candles, by its name."""
        return self.saw or {self.request.source: self.provenance.data_fingerprint}


def weights_of(named: Mapping[str, float], sources: Sequence[str]) -> dict[str, float]:
    """Each weight by the whole name of its series, of which the name given is part.

    Raises:
        InvalidInput: a name is part of no series' name, or of several.
    """
    found: dict[str, float] = {}
    for name, share in named.items():
        meant = [source for source in sources if name in source]
        if len(meant) != 1:
            raise InvalidInput(
                f"the weight of {name} must name one of the series, and is part of "
                f"{' and '.join(meant) or 'none'}; there are: {', '.join(sources)}"
            )
        if meant[0] in found:
            raise InvalidInput(f"the weight of {meant[0]} is said twice")
        found[meant[0]] = share
    return found


def account_shares(symbols: Collection[str], given: Mapping[str, float] | None) -> dict[str, float]:
    """Each symbol's share of one account: as given, else equal ones.

    Raises:
        InvalidInput: shares are not of exactly these symbols, negative, or more than all.
    """
    if given is None:
        return {symbol: 1.0 / len(symbols) for symbol in symbols}
    unknown, absent = set(given) - set(symbols), set(symbols) - set(given)
    if unknown or absent:
        raise InvalidInput(
            f"weights are needed for exactly the symbols that have candles; missing: "
            f"{', '.join(sorted(absent)) or 'none'}, without candles: "
            f"{', '.join(sorted(unknown)) or 'none'}"
        )
    total = sum(given.values())
    if min(given.values()) < 0 or not 0 < total <= 1 + 1e-9:
        raise InvalidInput(
            f"weights must not be negative and add up to at most 1, not {total:g}: "
            "nothing is borrowed"
        )
    return {symbol: float(given[symbol]) for symbol in symbols}


def plain(value: Any) -> Any:
    """`value` as JSON can say it: what is not a finite number is null."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def differing_figures(before: Any, after: Any, path: str = "") -> list[str]:
    """The names of the figures that are not the same to the bit, as `statistics.sharpe`."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        inner = (
            differing_figures(before.get(name), after.get(name), f"{path}.{name}") for name in names
        )
        return [name for names_inside in inner for name in names_inside]
    return [] if before == after else [path.lstrip(".")]


def differing_conditions(records: Sequence[BacktestRecord]) -> list[str]:
    """What was not the same for all `records`, so that their figures differ by more than skill."""
    conditions: dict[str, list[object]] = {
        "candles": [record.provenance.data_fingerprint for record in records],
        "span": [
            (record.provenance.first_opened_ms, record.provenance.last_opened_ms)
            for record in records
        ],
        "execution": [record.provenance.execution for record in records],
        "costs": [record.provenance.costs.model_dump_json() for record in records],
        "kind": [record.request.kind for record in records],
    }
    return [name for name, values in conditions.items() if len(set(values)) > 1]
