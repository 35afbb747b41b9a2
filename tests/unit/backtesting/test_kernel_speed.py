"""What makes the kernel fast is still there, and finds the same as the plain way."""

import numpy as np
import pytest
from numba import njit

from finsight.backtesting import indicators, marks
from finsight.backtesting.built_in import BUILT_IN
from finsight.backtesting.candle_arrays import candle_arrays
from finsight.backtesting.engine import Engine, Rules
from finsight.backtesting.simulate import next_event, simulate
from tests.builders import a_walk


def machine_code(function):
    """Compiled anew, as the copy on disk doesn't show its code."""
    options = {k: v for k, v in function.targetoptions.items() if k != "nopython"}
    fresh = njit(**options)(function.py_func)
    fresh.compile(function.signatures[0])
    return "".join(fresh.inspect_llvm().values())


def test_the_kernel_counts_no_references():
    # An atomic step each, a dozen a trade: it took two thirds of the time of a busy strategy.
    Engine(candle_arrays(a_walk(64)), BUILT_IN["buy_and_hold"], Rules()).record({})
    indicators.simple_average(np.ones(3), 2)
    assert "NRT_" in machine_code(indicators.simple_average)  # it makes arrays: so it would show
    assert "NRT_" not in machine_code(simulate)


@pytest.mark.parametrize("candles", [1, 7, 8, 9, 16, 37])
def test_the_next_event_is_found_eight_candles_at_a_time(candles):
    draw = np.random.default_rng(candles)
    for density in (0.02, 0.3, 0.9):
        events = np.where(draw.random(candles) < density, draw.integers(1, 16, candles), 0)
        events = events.astype(np.uint8)
        words = events[: candles // 8 * 8].view(np.uint64)
        for start in range(candles + 1):
            for wanted in (1, 6, 15):
                later = [i for i in range(start, candles) if events[i] & wanted]
                expected = later[0] if later else candles
                assert next_event(events, words, start, wanted) == expected


@pytest.mark.parametrize("at_once", [8, 64, marks.AT_ONCE])
@pytest.mark.parametrize("candles", [1, 8, 23, 200])
def test_crossings_are_those_of_their_definition(candles, at_once):
    draw = np.random.default_rng(candles)
    for shift in (0, 1):
        a = draw.integers(0, 3, candles).astype(float)  # ties are frequent
        b = np.full(candles, 1.0)
        a[: min(3, candles)] = np.nan
        events = np.zeros(candles, dtype=np.uint8)
        before, room = np.zeros(2, dtype=np.uint8), np.empty(marks.AT_ONCE, dtype=np.uint8)
        for first in range(0, candles, at_once):
            lines = a[first : first + at_once], b[first : first + at_once]
            marks.mark_crossings(first, *lines, 1, 2, shift, events, before, room)
        expected = np.zeros(candles, dtype=np.uint8)
        for i in range(1, candles - shift):
            if a[i] > b[i] and not a[i - 1] > b[i - 1] and (a[:i] < b[:i]).any():
                expected[i + shift] = 1
            if a[i] < b[i] and not a[i - 1] < b[i - 1] and (a[:i] > b[:i]).any():
                expected[i + shift] = 2
        np.testing.assert_array_equal(events, expected)
