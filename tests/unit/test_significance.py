"""A real difference is found, and luck is not taken for one."""

import numpy as np
import pytest
from scipy import stats

from finsight.domain.errors import InvalidInput
from finsight.domain.significance import FEWEST, diebold_mariano, mcnemar


def losses(count: int, gain: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The losses of two models over the same origins; the first loses `gain` less."""
    random = np.random.default_rng(seed)
    hard = random.gamma(2.0, 1.0, count)
    return hard - gain + random.normal(0, 0.2, count), hard + random.normal(0, 0.2, count)


def test_a_better_model_is_found_and_a_worse_one_is_not() -> None:
    better, worse = losses(200, 0.1, seed=1)
    assert diebold_mariano(better, worse, horizon=1).p_value < 0.01
    assert diebold_mariano(worse, better, horizon=1).p_value > 0.99


def test_without_overlap_it_is_the_paired_t_test() -> None:
    first, second = losses(60, 0.05, seed=2)
    expected = stats.ttest_rel(first, second, alternative="less")
    found = diebold_mariano(first, second, horizon=1)
    # The test divides by n where the t-test divides by n - 1; Harvey's correction mends it.
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_equal_models_are_told_apart_no_more_often_than_asked_for() -> None:
    found = [diebold_mariano(*losses(120, 0.0, seed), horizon=1).p_value for seed in range(400)]
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.09


def test_overlapping_horizons_are_not_taken_for_independent_evidence() -> None:
    random = np.random.default_rng(3)

    def overlapping() -> tuple[np.ndarray, np.ndarray]:
        # Each origin's difference is a sum over 24 steps that it shares with its neighbours.
        steps = random.normal(0, 1, 500 + 24)
        shared = np.convolve(steps, np.ones(24) / 24, mode="valid")[:500]
        return 5 + shared, np.full(500, 5.0)

    naive = np.mean([diebold_mariano(*overlapping(), horizon=1).p_value < 0.05 for _ in range(200)])
    honest = np.mean(
        [diebold_mariano(*overlapping(), horizon=24).p_value < 0.05 for _ in range(200)]
    )
    assert naive > 0.2
    assert honest < 0.6 * naive


def test_no_difference_at_all_is_no_evidence() -> None:
    same = np.linspace(1, 2, 20)
    assert diebold_mariano(same, same, horizon=4).p_value == 0.5


def test_mcnemar_counts_only_texts_that_the_two_answer_differently() -> None:
    both = np.ones(1000, bool)
    first, second = both.copy(), both.copy()
    second[:12], first[12:14] = False, False
    found = mcnemar(first, second)
    assert found.p_value == pytest.approx(stats.binom.sf(11, 14, 0.5))
    assert found.difference == pytest.approx(-0.010)
    assert mcnemar(second, first).p_value > 0.99
    assert mcnemar(both, both).p_value == 1.0


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.ones(FEWEST), np.ones(FEWEST + 1), "same cases"),
        (np.ones((4, 4)), np.ones((4, 4)), "one number each"),
        (np.ones(FEWEST - 1), np.ones(FEWEST - 1), "too few"),
        (np.full(FEWEST, np.nan), np.ones(FEWEST), "not a finite number"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    first: np.ndarray, second: np.ndarray, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        diebold_mariano(first, second, horizon=1)
