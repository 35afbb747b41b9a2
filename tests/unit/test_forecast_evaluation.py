"""Losses of forecasts against figures worked out by hand."""

import numpy as np
import pytest

from finsight.domain.errors import InvalidInput
from finsight.domain.forecast import QUANTILES
from finsight.domain.forecast_evaluation import directions, origin_losses, scale_of, step_losses

# Two origins, two steps; the closes before them moved by 1 and 3, and by 2 and 2.
HISTORIES = np.array([[10.0, 11.0, 14.0], [20.0, 22.0, 20.0]])
TRUTH = np.array([[16.0, 12.0], [20.0, 30.0]])
OURS = np.array(
    [[[10, 12, 14, 16, 18], [9, 11, 13, 15, 17]], [[18, 19, 20, 21, 22], [15, 18, 22, 26, 29]]],
    dtype=float,
)


def test_the_losses_are_those_of_the_formulas() -> None:
    scale = scale_of(HISTORIES)
    assert scale.absolute.tolist() == [2.0, 2.0]
    assert scale.square.tolist() == [5.0, 4.0]
    losses = step_losses(OURS, TRUTH, scale)
    assert losses.absolute.tolist() == [[1.0, 0.5], [0.0, 4.0]]
    assert losses.square == pytest.approx(np.array([[4 / 5, 1 / 5], [0.0, 64 / 4]]))
    # The close on the edge of an interval is inside it.
    assert losses.inside_80.tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert losses.inside_95.tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert losses.width_80.tolist() == [[2.0, 2.0], [1.0, 4.0]]
    assert losses.width_95.tolist() == [[4.0, 4.0], [2.0, 7.0]]
    by_hand = 0.025 * 6 + 0.1 * 4 + 0.5 * 2 + 0.9 * 0 + 0.025 * 2
    assert losses.pinball[0, 0] == pytest.approx(by_hand / 5 / 2)


def test_an_origin_loses_the_mean_of_its_steps_and_naive_beside_it() -> None:
    naive = np.repeat(np.array([[14.0], [20.0]])[:, :, None], 2, axis=1) * np.ones(len(QUANTILES))
    losses = origin_losses(OURS, naive, TRUTH, scale_of(HISTORIES))
    assert losses.mase.tolist() == [0.75, 2.0]
    assert losses.naive_mase.tolist() == [1.0, 2.5]
    # A forecast that is one number has half its absolute error as pinball loss.
    assert losses.naive_pinball == pytest.approx(losses.naive_mase / 2)


def test_a_quantile_is_what_makes_the_pinball_loss_least() -> None:
    draws = np.random.default_rng(0).normal(100, 5, (4000, 1))
    scale = scale_of(np.tile([1.0, 2.0], (4000, 1)))
    right = np.quantile(draws, QUANTILES)
    for wrong in (0.8, 1.25):
        spread = 100 + wrong * (right - 100)
        losses = [
            step_losses(np.broadcast_to(q, (4000, 1, 5)), draws, scale).pinball.mean()
            for q in (right, spread)
        ]
        assert losses[0] < losses[1]


def test_a_direction_counts_only_where_it_was_said_and_came() -> None:
    said = np.array([[11.0, 9.0], [20.0, 21.0]])
    came = np.array([[12.0, 11.0], [19.0, 20.0]])
    right = directions(said, came, np.array([10.0, 20.0]))
    assert np.array_equal(right, [[1.0, 0.0], [np.nan, np.nan]], equal_nan=True)


def test_a_price_that_never_moved_has_no_scale() -> None:
    assert np.isnan(scale_of(np.full((1, 5), 7.0)).absolute).all()


def test_forecasts_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidInput, match="don't fit"):
        step_losses(OURS[:, :1], TRUTH, scale_of(HISTORIES))
