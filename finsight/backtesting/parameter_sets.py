"""Which parameter sets a sweep tries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finsight.backtesting.strategies import Strategy
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Sampling, one_of, unknown

LARGEST_GRID = 20_000_000
_SOBOL_ROUNDS = 8


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
    sampling: Sampling | str = Sampling.RANDOM,
) -> ParameterSets:
    """Make every combination of `grid`, or `sample` of them picked without replacement.

    Picked at random, or along a scrambled Sobol sequence (Sobol 1967; Owen 1998), which
    leaves no region of the grid empty for long.

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
    if sample is None:
        picked = np.arange(size)
    elif one_of(Sampling, sampling, "sampling") is Sampling.SOBOL:
        picked = _along_sobol([len(values) for values in choices.values()], sample, seed)
    else:
        picked = _picked(size, sample, seed)
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


def _check_sample(size: int, sample: int) -> None:
    if sample < 1:
        raise InvalidInput(f"a sample must have at least one parameter set, not {sample}")
    if sample > LARGEST_GRID:
        raise InvalidInput(f"a sample can have {LARGEST_GRID:,} parameter sets, not {sample:,}")
    if size > 2**62:
        raise InvalidInput(f"the grid has {size:.1e} parameter sets; thin it below 4e18")


def _along_sobol(lengths: Sequence[int], sample: int, seed: int) -> np.ndarray:
    """The sets that the sequence's points fall on, each once, in the grid's order."""
    from scipy.stats.qmc import Sobol

    size = math.prod(lengths)
    _check_sample(size, sample)
    if sample >= size:
        return np.arange(size)
    varied = [length for length in lengths if length > 1]
    points = Sobol(len(varied), seed=np.random.default_rng(seed))
    picked = np.empty(0, dtype=np.int64)
    # Several points may fall on one set; a grid that is nearly used up is left to chance.
    for _ in range(_SOBOL_ROUNDS):
        drawn = points.random(2 ** math.ceil(math.log2(sample)))
        places = np.minimum((drawn * varied).astype(np.int64), np.array(varied) - 1)
        index = np.zeros(len(places), dtype=np.int64)
        for place, length in zip(places.T, varied, strict=True):
            index = index * length + place
        every, first = np.unique(np.concatenate([picked, index]), return_index=True)
        picked = every[np.argsort(first)]
        if len(picked) >= sample:
            return np.sort(picked[:sample])
    rest = np.setdiff1d(_picked(size, sample, seed), picked)
    return np.sort(np.concatenate([picked, rest[: sample - len(picked)]]))


def _picked(size: int, sample: int, seed: int) -> np.ndarray:
    _check_sample(size, sample)
    if sample >= size:
        return np.arange(size)
    rng = np.random.default_rng(seed)
    if size <= LARGEST_GRID:
        return np.sort(rng.choice(size, size=sample, replace=False))
    picked = np.unique(rng.integers(0, size, size=sample))
    while len(picked) < sample:
        more = rng.integers(0, size, size=sample - len(picked))
        picked = np.unique(np.concatenate([picked, more]))
    return picked
