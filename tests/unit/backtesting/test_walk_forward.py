"""Walk-forward: nothing of a stretch is known when its parameters are chosen."""

import numpy as np
import pytest

from finsight.backtesting import run, walk_forward
from finsight.backtesting.walk_forward import folds
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from tests.builders import a_walk

WALK = a_walk(1_000, seed=4)
GRID = {"fast": [3, 5, 8], "slow": [13, 21]}


def test_folds_roll_by_the_stretch_that_is_judged():
    cut = folds(100, train=40, test=20, purge=3, embargo=2, anchored=False)
    assert cut == [(0, 37, 42, 62), (20, 57, 62, 82), (40, 77, 82, 100)]
    assert folds(100, 40, 20, 0, 0, anchored=True)[-1].train_from == 0


def test_what_comes_after_a_stretch_does_not_change_it():
    options = {"train": 300, "test": 100, "purge": 5, "embargo": 5, "costs": {"fee": 0.001}}
    whole = walk_forward(WALK, "ma_cross", GRID, **options)
    cut = walk_forward(CandleTable(WALK.arrow.slice(0, 605)), "ma_cross", GRID, **options)
    assert cut.folds.num_rows == 3
    assert cut.folds.equals(whole.folds.slice(0, 3))
    equity = whole.equity.column("equity").to_numpy()[: cut.equity.num_rows]
    np.testing.assert_array_equal(cut.equity.column("equity").to_numpy(), equity)


def test_the_equity_is_one_account_over_the_stretches_that_were_judged():
    result = walk_forward(WALK, "ma_cross", GRID, train=300, test=100)
    assert result.equity.num_rows == 700
    grown = np.prod(1 + result.folds.column("total_return").to_numpy())
    assert result.statistics["total_return"] == pytest.approx(grown - 1)
    assert not any(trade["open"] for trade in result.trades.to_pylist())


def test_with_one_parameter_set_a_stretch_is_a_plain_run_of_it():
    options = {"costs": {"fee": 0.001, "slippage": 0.001}, "direction": "both"}
    forward = walk_forward(
        WALK, "ma_cross", {"fast": [5], "slow": [13]}, train=300, test=700, **options
    )
    plain = run(WALK, "ma_cross", {"fast": 5, "slow": 13}, **options)
    entered = [t for t in plain.trades.to_pylist() if t["entry_bar"] > 300]
    ours = forward.trades.to_pylist()
    prices = [t["entry_price"] for t in entered][: len(ours)]
    assert [t["entry_price"] for t in ours] == pytest.approx(prices)
    assert len(ours) >= len(entered) - 1 > 10


def test_the_parameters_chosen_are_the_best_of_the_training():
    result = walk_forward(WALK, "ma_cross", GRID, train=300, test=100, metric="total_return")
    first = result.folds.slice(0, 1).to_pylist()[0]
    train = CandleTable(WALK.arrow.slice(0, 300))
    found = {
        (f, s): run(train, "ma_cross", {"fast": f, "slow": s}).statistics["total_return"]
        for f in GRID["fast"]
        for s in GRID["slow"]
    }
    assert (first["fast"], first["slow"]) == max(found, key=found.get)
    assert first["in_sample_total_return"] == pytest.approx(max(found.values()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": 2, "test": 10}, "at least 3"),
        ({"train": 2_000, "test": 10}, "too few"),
        ({"train": 50, "test": 10, "purge": 49}, "3 candles left"),
        ({"train": 50, "test": 10, "metric": "sharp"}, "did you mean 'sharpe'"),
    ],
)
def test_bad_requests_are_refused(options, said):
    with pytest.raises(InvalidInput, match=said):
        walk_forward(WALK, "ma_cross", GRID, **options)
