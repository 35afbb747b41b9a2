"""The check takes the future away and sees whether anything changes."""

import numpy as np
import pytest

from finsight.backtesting import check, run
from finsight.backtesting.built_in import BUILT_IN
from tests.builders import a_walk

WALK = a_walk(600, seed=1)


def knows_the_next_close(candles):
    tomorrow = np.append(candles.close[1:], candles.close[-1])
    return tomorrow > candles.close, tomorrow < candles.close


def buys_below_the_mean_of_all_volume(candles):
    low = candles.volume < candles.volume.mean()
    return low, ~low


def centred_high(candles, window=5):
    padded = np.pad(candles.high, window, mode="edge")
    centred = np.array([padded[i : i + 2 * window + 1].max() for i in range(len(candles.high))])
    return candles.high >= centred, candles.high < centred * 0.99


def honest(candles, window=10):
    mean = np.convolve(candles.close, np.ones(window) / window)[: len(candles.close)]
    return candles.close > mean, candles.close < mean


@pytest.mark.parametrize(
    "strategy", [name for name, one in BUILT_IN.items() if one.reads_beside is None]
)
def test_the_strategies_that_come_along_do_not_look_ahead(strategy):
    found = check(WALK, strategy)
    assert found.found is False
    assert found.histories > 20 or strategy == "buy_and_hold"


def test_an_honest_strategy_passes():
    assert check(WALK, honest, {"window": 7}).found is False


@pytest.mark.parametrize(
    ("strategy", "column"),
    [
        (knows_the_next_close, "close"),
        (buys_below_the_mean_of_all_volume, "volume"),
        (centred_high, "high"),
    ],
)
def test_a_strategy_that_knows_the_future_is_caught_and_the_input_named(strategy, column):
    found = check(WALK, strategy)
    assert found.found is True
    assert found.input == column
    assert found.candle is not None
    assert f"candle {found.candle}" in found.detail


def test_the_candle_named_is_one_whose_signal_really_changes():
    found = check(WALK, knows_the_next_close)
    entries, exits = knows_the_next_close(_arrays(found.candle + 1))
    whole_entries, whole_exits = knows_the_next_close(_arrays(len(WALK)))
    at = found.candle
    assert (entries[at], exits[at]) != (whole_entries[at], whole_exits[at])


def test_every_run_of_a_users_strategy_says_what_the_check_found():
    assert run(WALK, knows_the_next_close).provenance.look_ahead.found is True
    assert run(WALK, honest).provenance.look_ahead.found is False


def _arrays(rows):
    from finsight.backtesting.candle_arrays import candle_arrays, head

    return head(candle_arrays(WALK), rows)
