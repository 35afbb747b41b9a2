"""How often the best in one half of a history is below average in the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from finsight.backtesting.candle_arrays import CandleArrays, head
from finsight.backtesting.engine import Engine, Rules
from finsight.backtesting.parameter_sets import ParameterSets, parameter_sets
from finsight.backtesting.side_by_side import side_by_side
from finsight.backtesting.single import rules_from
from finsight.backtesting.user_strategy import opened, resolve
from finsight.domain.errors import InvalidInput

MOST_SETS = 5_000


@dataclass(frozen=True)
class Overfitting:
    """probability: the share of splits in which the winner of one half came below the median
    of the other; 0.5 is what picking blindly gives. sets and splits: what it rests on."""

    probability: float
    sets: int
    splits: int


@dataclass(frozen=True)
class Permutation:
    """p_value: (1 + how often shuffled candles gave as good a winner) / (1 + shuffles)."""

    p_value: float
    best: float
    shuffled_best: tuple[float, ...]


def probability_of_overfitting(
    candles: Any,
    strategy: str | Callable[..., Any],
    grid: Mapping[str, Iterable[float]],
    *,
    blocks: int = 16,
    sample: int | None = None,
    seed: int = 0,
    **rules: Any,
) -> Overfitting:
    """Combinatorially symmetric cross-validation over the returns of every parameter set.

    The history is cut into `blocks` stretches; every half of them chooses the set with the
    highest Sharpe ratio, and the other half ranks it. Source: Bailey, Borwein, López de
    Prado and Zhu 2017, "The Probability of Backtest Overfitting", Journal of Computational
    Finance 20(4). `rules` are those of `sweep` (costs, execution, direction, stops, sizing).

    Raises:
        InvalidInput: as `sweep`; also an odd number of blocks, more than 5,000 sets (pass a
            sample), fewer than two, or fewer than two candles a block.
    """
    arrays, chosen = opened(candles, strategy)
    sets = parameter_sets(chosen, grid, sample, seed)
    if blocks % 2 or not 2 <= blocks <= 20:
        raise InvalidInput(f"blocks must be an even number from 2 to 20, not {blocks}")
    if not 2 <= len(sets) <= MOST_SETS:
        raise InvalidInput(f"this needs 2 to {MOST_SETS:,} parameter sets, not {len(sets):,}")
    if len(arrays.close) < 2 * blocks:
        raise InvalidInput(f"{len(arrays.close)} candles are too few for {blocks} blocks")
    engine = Engine(arrays, chosen, rules_from(rules))
    counts, sums, squares = _block_sums(engine, sets, blocks)
    return cross_validated(counts, sums, squares)


def cross_validated(counts: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> Overfitting:
    """The share of splits lost, from each block's number, sum and sum of squares of returns.

    counts: shape (blocks,). sums, squares: shape (blocks, sets).
    """
    blocks, sets = sums.shape
    below = splits = 0
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.zeros(blocks, dtype=bool)
        inside[list(chosen)] = True
        best = int(np.argmax(_sharpe(counts, sums, squares, inside)))
        outside = _sharpe(counts, sums, squares, ~inside)
        # The rank among sets + 1 of them, so that the logit is finite; ties share a rank.
        rank = (np.sum(outside < outside[best]) + np.sum(outside <= outside[best]) + 1) / 2
        below += bool(rank / (sets + 1) <= 0.5)
        splits += 1
    return Overfitting(below / splits, sets, splits)


def permutation_test(
    candles: Any,
    strategy: str | Callable[..., Any],
    grid: Mapping[str, Iterable[float]],
    *,
    shuffles: int = 100,
    sample: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    **rules: Any,
) -> Permutation:
    """Would the best Sharpe ratio of the grid have turned up had order meant nothing?

    Each shuffle permutes the candles' shapes (their prices over the close before), keeping
    their distribution and the end-to-end return, and searches the whole grid again, so that
    the search's own luck is in it. Where this process is connected to Ray, the shuffles are
    its tasks. Source: Masters 2018, "Permutation and Randomization
    Tests for Trading System Development". Raises: InvalidInput, as `sweep`.
    """
    if shuffles < 1:
        raise InvalidInput(f"at least one shuffle is needed, not {shuffles}")
    arrays, chosen = opened(candles, strategy)
    sets = parameter_sets(chosen, grid, sample, seed)
    how = rules_from(rules)
    real = _best_sharpe(Engine(arrays, chosen, how), sets, threads)
    work = _Work(arrays, strategy, how, sets, seed)
    found = dict(side_by_side(_best_of_shuffled, work, range(shuffles), threads))
    bests = tuple(found[number] for number in range(shuffles))
    as_good = sum(best >= real for best in bests)
    return Permutation((1 + as_good) / (1 + shuffles), real, bests)


class _Work(NamedTuple):
    """What every shuffled history is searched with."""

    candles: CandleArrays
    strategy: str | Callable[..., Any]
    rules: Rules
    sets: ParameterSets
    seed: int


def _best_of_shuffled(work: _Work, number: int, threads: int | None) -> float:
    # A generator of its own: the histories are the same, whoever makes them.
    rng = np.random.default_rng([work.seed, number])
    own = head(work.candles, len(work.candles.close))  # The object store's can't be written.
    engine = Engine(shuffled(own, rng), resolve(work.strategy), work.rules)
    return _best_sharpe(engine, work.sets, threads)


def shuffled(candles: CandleArrays, rng: np.random.Generator) -> CandleArrays:
    """The same candles in another order: each keeps its open, high, low and close relative to
    the close before it, the first keeps its place."""
    before = candles.close[:-1]
    order = rng.permutation(len(before)) + 1
    steps = np.log(candles.close[order] / candles.close[order - 1])
    close = candles.close.copy()
    close[1:] = close[0] * np.exp(np.cumsum(steps))
    columns = {}
    for name in ("open", "high", "low"):
        prices = getattr(candles, name).copy()
        prices[1:] = close[:-1] * (getattr(candles, name)[order] / candles.close[order - 1])
        columns[name] = prices
    volume = candles.volume.copy()
    volume[1:] = candles.volume[order]
    # Rounding may have put a close an epsilon outside its candle.
    columns["high"] = np.maximum(columns["high"], np.maximum(columns["open"], close))
    columns["low"] = np.minimum(columns["low"], np.minimum(columns["open"], close))
    return candles._replace(close=close, volume=volume, **columns)


def _best_sharpe(engine: Engine, sets: ParameterSets, threads: int | None) -> float:
    table = engine.tally(sets, threads).table
    n, total, squares = table[:, 0], table[:, 1], table[:, 2]
    spread = np.sqrt(np.maximum(squares - total**2 / n, 0.0) / (n - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        sharpe = np.where(spread > 0, total / n / spread, -np.inf)
    return float(np.nanmax(sharpe))


def _block_sums(
    engine: Engine, sets: ParameterSets, blocks: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    edges = np.linspace(0, len(engine.candles.close), blocks + 1).astype(int)
    counts = np.diff(edges).astype(np.float64)
    sums, squares = np.empty((blocks, len(sets))), np.empty((blocks, len(sets)))

    def one(row: int) -> None:
        equity = engine.record(sets.values(row)).equity
        returns = np.diff(equity, prepend=engine.rules.sizing.cash)
        returns /= np.concatenate([[engine.rules.sizing.cash], equity[:-1]])
        sums[:, row] = np.add.reduceat(returns, edges[:-1])
        squares[:, row] = np.add.reduceat(returns * returns, edges[:-1])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(len(sets))))
    return counts, sums, squares


def _sharpe(
    counts: np.ndarray, sums: np.ndarray, squares: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    n, total, square = counts[inside].sum(), sums[inside].sum(0), squares[inside].sum(0)
    spread = np.sqrt(np.maximum(square - total**2 / n, 0.0))
    out = np.full(len(total), -np.inf)
    np.divide(total, spread, out=out, where=spread > 0)
    return out
