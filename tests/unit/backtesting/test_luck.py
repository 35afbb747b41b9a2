"""How much of the winner is luck."""

import numpy as np
import pytest

from finsight.backtesting import permutation_test, probability_of_overfitting, sweep
from finsight.backtesting.candle_arrays import candle_arrays
from finsight.backtesting.luck import deflated_sharpe, expected_best_sharpe
from finsight.backtesting.overfitting import cross_validated, shuffled
from finsight.domain.backtest import metadata_of
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from tests.builders import a_walk

WALK = a_walk(2_000, seed=11)


def test_the_deflated_sharpe_ratio_of_the_paper_s_example():
    # Bailey and López de Prado 2014, "a numerical example": annual Sharpe 2.5 over 1,250
    # days, the variance of 100 trials' annual ratios 0.5, skewness -3, kurtosis 10.
    deviation = np.sqrt(0.5 / 250)
    assert expected_best_sharpe(100, deviation) == pytest.approx(0.1132, abs=1e-4)
    found = deflated_sharpe(2.5 / np.sqrt(250), 1250, -3, 10, 100, deviation)
    assert found == pytest.approx(0.9004, abs=1e-4)


def test_the_best_of_ten_thousand_sets_on_shuffled_returns_is_not_significant():
    grid = {"fast": range(2, 102), "slow": range(110, 210)}
    for seed in (1, 2, 3):
        table = sweep(a_walk(3_000, seed=seed), "ma_cross", grid)
        winner = metadata_of(table)["winner"]
        assert winner["trials"] > 9_900
        assert winner["significant"] is False
        assert winner["deflated_sharpe"] < 0.95


def test_a_real_edge_is_significant():
    # The direction of the next candle shows in this one's: twenty up, twenty down.
    close = 100 * np.exp(np.cumsum(np.tile(np.r_[np.full(20, 0.004), np.full(20, -0.004)], 60)))
    close *= np.exp(np.random.default_rng(0).normal(0, 0.002, len(close)))
    open_ = np.r_[close[0], close[:-1]]
    ts = np.arange(len(close)) * 3_600_000
    table = CandleTable.from_columns(
        ts, open_, np.maximum(open_, close), np.minimum(open_, close), close, np.ones(len(close))
    )
    grid = {"fast": range(2, 6), "slow": range(6, 12)}
    winner = metadata_of(sweep(table, "ma_cross", grid, direction="both"))["winner"]
    assert winner["significant"] is True
    assert winner["sensitivity"]["shape"] == "plateau"
    assert permutation_test(table, "ma_cross", grid, shuffles=19).p_value == pytest.approx(0.05)
    assert probability_of_overfitting(table, "ma_cross", grid, blocks=8).sets == 24


def test_one_trial_is_not_deflated():
    assert expected_best_sharpe(1, 0.3) == 0.0


def test_sets_that_are_all_noise_are_overfit_about_half_the_time():
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(20):
        returns = rng.normal(0, 0.01, (10, 100, 40))
        found = cross_validated(np.full(10, 100.0), returns.sum(1), np.square(returns).sum(1))
        shares.append(found.probability)
    assert 0.35 < np.mean(shares) < 0.65


def test_one_set_that_is_really_better_is_not_overfit():
    returns = np.random.default_rng(4).normal(0, 0.01, (10, 100, 40))
    returns[:, :, 7] += 0.004
    found = cross_validated(np.full(10, 100.0), returns.sum(1), np.square(returns).sum(1))
    assert found.probability == 0.0
    assert found.splits == 252


def test_a_spike_is_told_from_a_plateau():
    table = sweep(WALK, "ma_cross", {"fast": [5, 6], "slow": [20, 21]})
    found = metadata_of(table)["winner"]["sensitivity"]
    assert found["neighbours"] == 3
    sharpe = table.column("sharpe").to_numpy()
    others = np.delete(sharpe, np.argmax(sharpe))
    assert found["average"] == pytest.approx(others.mean())
    if sharpe.max() > 0:
        assert found["kept"] == pytest.approx(others.mean() / sharpe.max())


def test_shuffling_keeps_the_shapes_and_the_end():
    arrays = candle_arrays(WALK)
    mixed = shuffled(arrays, np.random.default_rng(0))
    assert mixed.close[-1] == pytest.approx(arrays.close[-1])
    assert (mixed.high >= np.maximum(mixed.open, mixed.close)).all()
    assert (mixed.low <= np.minimum(mixed.open, mixed.close)).all()
    assert sorted(np.diff(np.log(mixed.close))) == pytest.approx(
        sorted(np.diff(np.log(arrays.close)))
    )
    assert (mixed.close[1:-1] != arrays.close[1:-1]).any()


def test_on_a_walk_without_an_edge_the_permutation_test_finds_none():
    found = permutation_test(WALK, "ma_cross", {"fast": [3, 5], "slow": [20, 40]}, shuffles=39)
    assert found.p_value > 0.05
    assert len(found.shuffled_best) == 39


@pytest.mark.parametrize(
    ("change", "said"),
    [({"blocks": 7}, "even"), ({"grid": {"fast": [3], "slow": [9]}}, "2 to 5,000")],
)
def test_bad_requests_are_refused(change, said):
    request = {"grid": {"fast": [3, 4], "slow": [9]}} | change
    with pytest.raises(InvalidInput, match=said):
        probability_of_overfitting(WALK, "ma_cross", **request)
