"""Which parameter sets a sweep tries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from finsight.backtesting.strategies import Strategy
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import unknown

LARGEST_GRID = 20_000_000


@dataclass(frozen=True)
class ParameterSets:
    """Parameter sets as columns of equal length, and how many the strategy ruled out."""

    columns: dict[str, np.ndarray]
    ruled_out: int

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 1

    def values(self, row: int) -> dict[str, float]:
        """The parameters of one set."""
        return {name: float(column[row]) for name, column in self.columns.items()}

    def each(self) -> Iterator[dict[str, float]]:
        """The parameters of every set, in order."""
        if not self.columns:
            yield {}
            return
        names = list(self.columns)
        for values in zip(*(column.tolist() for column in self.columns.values()), strict=True):
            yield dict(zip(names, values, strict=True))

    def block(self, start: int, stop: int) -> ParameterSets:
        """The sets of rows `start` up to `stop`."""
        return ParameterSets({n: c[start:stop] for n, c in self.columns.items()}, 0)


def parameter_sets(
    strategy: Strategy,
    grid: Mapping[str, Iterable[float]] | None,
    sample: int | None = None,
    seed: int = 0,
) -> ParameterSets:
    """Make every combination of `grid`, or `sample` of them picked without replacement.

    The first parameter named changes slowest. A parameter that the grid does not name has
    its default. Combinations that the strategy rules out are left out and counted.

    Raises:
        InvalidInput: an unknown parameter, no values, a value out of range, more sets than
            fit in memory (the message says how many and suggests a sample), or nothing left.
    """
    choices = _choices(strategy, grid or {})
    size = math.prod(len(values) for values in choices.values())
    if sample is None and size > LARGEST_GRID:
        raise InvalidInput(
            f"the grid has {size:,} parameter sets, more than the {LARGEST_GRID:,} that one "
            f"sweep takes; ask for a sample, say sample=1_000_000, or thin the grid"
        )
    picked = np.arange(size) if sample is None else _picked(size, sample, seed)
    columns: dict[str, np.ndarray] = {}
    for name in reversed(choices):
        values = choices[name]
        columns[name] = values[(picked % len(values)).astype(np.int64)]
        picked = picked // len(values)
    columns = {name: columns[name] for name in choices}
    out = strategy.ruled_out(columns)
    if out.all():
        raise InvalidInput(f"{strategy.name} rules out all {len(out):,} parameter sets of the grid")
    return ParameterSets({n: c[~out] for n, c in columns.items()}, int(out.sum()))


def _choices(strategy: Strategy, grid: Mapping[str, Iterable[float]]) -> dict[str, np.ndarray]:
    known = {parameter.name: parameter for parameter in strategy.parameters or ()}
    choices: dict[str, np.ndarray] = {}
    for name, given in grid.items():
        if strategy.parameters is not None and name not in known:
            raise InvalidInput(unknown(f"parameter of {strategy.name}", str(name), known))
        values = _listed(name, given)
        if name in known:
            values = [known[name].check(value) for value in values]
        choices[name] = np.array(values, dtype=np.float64)
    for name, parameter in known.items():
        choices.setdefault(name, np.array([parameter.default]))
    return choices


def _listed(name: str, given: Any) -> list[Any]:
    if isinstance(given, str) or (not hasattr(given, "__iter__") and not np.isscalar(given)):
        raise InvalidInput(f"the grid's {name} must be a number or several, not {given!r}")
    values = list(given) if hasattr(given, "__iter__") else [given]
    if not values:
        raise InvalidInput(f"the grid's {name} has no values")
    if len(set(values)) < len(values):
        raise InvalidInput(f"the grid's {name} has the same value twice")
    for value in values:
        if isinstance(value, bool) or not hasattr(value, "__float__") or not math.isfinite(value):
            raise InvalidInput(f"the grid's {name} must hold numbers, not {value!r}")
    return values


def _picked(size: int, sample: int, seed: int) -> np.ndarray:
    if sample < 1:
        raise InvalidInput(f"a sample must have at least one parameter set, not {sample}")
    if sample > LARGEST_GRID:
        raise InvalidInput(f"a sample can have {LARGEST_GRID:,} parameter sets, not {sample:,}")
    if sample >= size:
        return np.arange(size)
    rng = np.random.default_rng(seed)
    if size <= LARGEST_GRID:
        return np.sort(rng.choice(size, size=sample, replace=False))
    if size > 2**62:
        raise InvalidInput(f"the grid has {size:.1e} parameter sets; thin it below 4e18")
    picked = np.unique(rng.integers(0, size, size=sample))
    while len(picked) < sample:
        more = rng.integers(0, size, size=sample - len(picked))
        picked = np.unique(np.concatenate([picked, more]))
    return picked
