"""A user's strategy that numba compiled is tried in a compiled loop, and finds the same."""

import numpy as np
import pytest
from numba import njit

from finsight.backtesting import sweep
from finsight.backtesting.candle_arrays import candle_arrays
from finsight.backtesting.engine import Engine, Rules
from finsight.backtesting.kernel import TALLY_COLUMNS
from finsight.backtesting.parameter_sets import ParameterSets
from finsight.backtesting.user_loop import loop_around
from finsight.backtesting.user_strategy import UserStrategy
from finsight.domain.strategy import Costs, Direction
from tests.builders import a_walk

WALK = a_walk(400, seed=3)
GRID = {"back": range(2, 32), "hold": range(3, 23)}  # 600 sets: worth compiling a loop


ONE_SET = {"back": [2], "hold": [3]}


@njit
def momentum(candles, back, hold, least=0.0):
    close = candles.close
    entries = np.zeros(len(close), np.bool_)
    exits = np.zeros(len(close), np.bool_)
    for i in range(max(back, hold), len(close)):
        entries[i] = close[i] > close[i - back] * (1.0 + least)
        exits[i] = close[i] < close[i - hold]
    return entries, exits


@njit
def both_sides(candles, back, hold):
    entries, exits = momentum(candles, back, hold)
    return entries, exits, exits, entries


@njit
def raises_on_seven(candles, back, hold):
    if back == 7:
        raise ValueError("seven")
    return momentum(candles, back, hold)


@njit
def short_on_nine(candles, back, hold):
    entries, exits = momentum(candles, back, hold)
    return (entries[1:], exits[1:]) if back == 9 else (entries, exits)


@njit
def kinds(candles, back):
    """What whole numbers alone do: whoever makes them others is found out."""
    entries, exits = momentum(candles, 5, 5)
    if isinstance(back, int):
        entries[:200] = False
    return entries, exits


@njit
def as_numbers(candles, back, hold):
    entries, exits = momentum(candles, back, hold)
    return entries.astype(np.float64), exits.astype(np.float64)


def plainly(function):
    """The same function, which nobody knows to be compiled."""
    return lambda candles, **given: function(candles, **given)


def loop_of(function, grid=ONE_SET):
    sets = ParameterSets({n: np.array([float(v) for v in of]) for n, of in grid.items()}, 0)
    engine = Engine(candle_arrays(WALK), UserStrategy(function, "a"), Rules())
    how = (engine._history, Direction.LONG, 1, engine._terms)
    return loop_around(engine.strategy, sets, engine.candles, *how)


@pytest.mark.parametrize("function", [momentum, both_sides])
@pytest.mark.parametrize("direction", ["long", "short", "both"])
def test_the_rows_are_those_of_the_plain_way(function, direction):
    assert loop_of(function) is not None
    how = {"costs": Costs(fee=0.001, slippage=0.0005), "direction": direction}
    found = sweep(WALK, function, GRID, threads=2, **how).to_pandas()
    assert found["trades"].max() > 0
    assert found.equals(sweep(WALK, plainly(function), GRID, **how).to_pandas())


def test_parameters_are_numbers_of_their_kind_and_defaults_hold():
    grid = {"back": range(2, 32), "hold": [5], "least": np.linspace(0, 0.05, 21)}
    found = sweep(WALK, momentum, grid).to_pandas()
    assert found.equals(sweep(WALK, plainly(momentum), grid).to_pandas())
    assert found["trades"].nunique() > 2


def test_a_number_is_of_the_same_kind_in_whatever_block_it_stands():
    grid = {"back": np.arange(1, 601) / 4}
    found = sweep(WALK, kinds, grid).to_pandas()
    assert found["trades"].nunique() == 2
    assert found.equals(sweep(WALK, kinds, grid, block_sets=512).to_pandas())
    assert found.equals(sweep(WALK, plainly(kinds), grid).to_pandas())
    some = loop_of(kinds, {"back": [1, 2, 2.5, 3.5]})
    sums = np.empty((4, TALLY_COLUMNS))
    done = [some(slice(*ends), sums[slice(*ends)]) for ends in ((0, 2), (2, 4), (0, 4))]
    assert done == [True, True, False]


@pytest.mark.parametrize(
    ("function", "said"),
    [(raises_on_seven, "raised ValueError: seven"), (short_on_nine, "for 400 candles")],
)
def test_sets_that_fail_are_named_and_the_others_go_on(function, said):
    assert loop_of(function) is not None
    found = sweep(WALK, function, GRID)
    failed = found.column("error").is_valid().to_numpy(zero_copy_only=False)
    assert failed.sum() == len(GRID["hold"])
    assert all(said in why for why in found.column("error").to_pylist() if why)
    right = sweep(WALK, momentum, GRID).to_pandas()[~failed].reset_index(drop=True)
    rest = found.drop_columns(["error"]).to_pandas()[~failed].reset_index(drop=True)
    assert rest.astype(float).equals(right.astype(float))


def test_what_numba_cant_loop_over_is_called_set_by_set():
    assert loop_of(as_numbers) is None
    assert loop_of(plainly(momentum)) is None
    assert loop_of(momentum, {"sideways": [1]}) is None
    found = sweep(WALK, as_numbers, GRID).to_pandas()
    assert found.equals(sweep(WALK, momentum, GRID).to_pandas())
