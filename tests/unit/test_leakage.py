"""Canaries: each puts a leak in on purpose, and must be caught."""

from dataclasses import replace

import numpy as np
import pytest

from finsight.adapters.models.neural_forecaster import NeuralForecaster
from finsight.adapters.models.neural_training import fit_neural
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput, LookedAhead
from finsight.domain.fitted_scale import FittedScale
from finsight.domain.forecast_windows import make_examples
from finsight.domain.forecaster_plan import plan_training, segments
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe, Target
from finsight.domain.history import History
from finsight.domain.known_features import FEATURES, KnownFeature, join_known, known_features
from finsight.domain.timeframe import Timeframe
from finsight.ports.news import KnownSentiment
from tests.builders import HOUR, NOON, a_walk

SMALL = ForecasterRecipe(input_size=48, horizon=6, steps=80, batch_size=32, check_every=20)
EXOGENOUS = SMALL.model_copy(update={"family": Family.NHITS, "exogenous": True})


def closes_of(table: CandleTable) -> np.ndarray:
    return Timeframe.H1.next_ms(table.ts_ms)


def test_a_feature_shifted_from_the_future_raises() -> None:
    walk = a_walk(50)
    closed = closes_of(walk)
    volume = KnownFeature("volume", walk.column("volume"), closed)
    assert set(join_known(closed, [volume])) == {"volume"}
    # The value of the next candle at each row, with the moment that it carries.
    shifted = KnownFeature("volume", np.roll(volume.values, -1), np.roll(volume.known_at_ms, -1))
    with pytest.raises(LookedAhead, match=r"the feature volume looks ahead: .* as of when"):
        join_known(closed, [shifted])
    # One value among many, one millisecond too early.
    late = volume.known_at_ms.copy()
    late[20] += 1
    with pytest.raises(LookedAhead, match="and 0 more"):
        join_known(closed, [replace(volume, known_at_ms=late)])
    with pytest.raises(LookedAhead, match="every candle needs one value"):
        join_known(closed, [replace(volume, known_at_ms=closed[1:])])


def test_what_becomes_known_later_changes_no_earlier_feature() -> None:
    walk = a_walk(50)
    early = [KnownSentiment(NOON + hour * HOUR, NOON, 0.5) for hour in range(10)]
    late = KnownSentiment(NOON + 30 * HOUR, NOON - HOUR, -1.0)  # Published long before.
    without = known_features(walk, Timeframe.H1, early)
    with_it = known_features(walk, Timeframe.H1, [*early, late])
    for name in FEATURES:
        # The candle that closes at that very moment is row 29.
        assert np.array_equal(without[name][:29], with_it[name][:29])
    assert with_it["sentiment"][29] < without["sentiment"][29]
    assert with_it["articles"][29] == without["articles"][29] + 1


def test_a_feature_without_articles_is_zero_not_missing() -> None:
    known = known_features(a_walk(5), Timeframe.H1, [])
    assert known["sentiment"].tolist() == known["articles"].tolist() == [0.0] * 5


def test_a_scale_fitted_on_all_data_is_caught_wherever_it_is_used() -> None:
    walk = a_walk(600)
    history = History.of_candles(walk, Timeframe.H1, ())
    plan = plan_training({"a": history}, EXOGENOUS, "1h")
    cut = plan.learnt_until_ms
    everything = FittedScale.fit(history.values[:, None], history.ts_ms)
    with pytest.raises(LookedAhead, match="fit it on the training part alone"):
        everything.scale(history.values[:, None], cut)
    # In the windows that a network would learn from.
    columns = np.stack([history.known[name] for name in FEATURES], axis=-1)
    leaking = replace(plan.shape, known_scale=FittedScale.fit(columns, history.ts_ms))
    [segment] = segments({"a": history}, plan)
    with pytest.raises(LookedAhead):
        make_examples(segment, leaking)
    # In a model, also one that is read from its files.
    model = fit_neural({"a": history}, EXOGENOUS.model_copy(update={"steps": 2}), "1h")
    with pytest.raises(LookedAhead):
        NeuralForecaster(
            model.config.model_copy(update={"scales": {"a": everything}}),
            model.network,
            np.zeros((6, 5)),
        )


def test_the_scales_of_a_training_end_before_the_embargo() -> None:
    history = History.of_candles(a_walk(600), Timeframe.H1, ())
    plan = plan_training({"a": history}, EXOGENOUS, "1h")
    splits = plan.shape.splits
    assert plan.shape.known_scale is not None
    for scale in (plan.scales["a"], plan.shape.known_scale):
        assert scale.fitted_until_ms == splits.valid_from_ms - splits.embargo_ms - 3_600_000


def a_wave(rows: int) -> np.ndarray:
    """Values that are all but certain from their past."""
    rng = np.random.default_rng(3)
    hours = np.arange(rows)
    return np.sin(hours * 2 * np.pi / 24) + 0.05 * rng.normal(size=rows)


def fit_values(values: np.ndarray) -> dict[str, float]:
    recipe = SMALL.model_copy(
        update={"target": Target.VALUE, "patch_length": 12, "stride": 12, "learning_rate": 5e-3}
    )
    history = History.of_values(np.arange(len(values)) * 3_600_000, values, "wave")
    return dict(fit_neural({"wave": history}, recipe, "1h").metrics)


def test_permuted_targets_give_no_skill() -> None:
    """The same network on the same values, their order destroyed: nothing is left to know."""
    values = a_wave(1500)
    shuffled = np.random.default_rng(0).permutation(values)
    # Of values without an order the mean is the best that is known: its error is the yardstick.
    known_best = float(np.abs(values - np.median(values)).mean() / values.std())
    skilled, random = fit_values(values), fit_values(shuffled)
    assert skilled["held_out_mae"] < 0.3 * known_best
    assert random["held_out_mae"] > 0.95 * known_best


def test_a_random_walk_is_not_beaten() -> None:
    """Returns in a random order hold nothing to learn: naive stays as good."""
    history = History.of_candles(a_walk(1500), Timeframe.H1)
    metrics = fit_neural({"a": history}, SMALL, "1h").metrics
    assert metrics["held_out_ratio_to_naive"] > 0.97


def test_an_exogenous_recipe_wants_what_it_learns_from() -> None:
    history = History.of_candles(a_walk(600), Timeframe.H1)
    with pytest.raises(InvalidInput, match="comes without the volume and the sentiment"):
        fit_neural({"a": history}, EXOGENOUS, "1h")
