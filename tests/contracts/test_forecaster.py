"""What every forecaster promises."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.adapters.models.neural_forecaster import NeuralForecaster
from finsight.adapters.models.neural_training import fit_neural
from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.domain.forecast import QUANTILES
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe, Loss, Target
from finsight.domain.history import History
from finsight.domain.known_features import known_features
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import Forecaster, ForecastInput
from tests.builders import BTC_HOURLY, ETH_HOURLY, a_walk

RECIPE = ForecasterRecipe(input_size=48, horizon=12, steps=15, batch_size=16, check_every=15)
RECIPES = {
    "patchtst": RECIPE,
    "nhits": RECIPE.model_copy(update={"family": Family.NHITS, "exogenous": True}),
    "tide": RECIPE.model_copy(update={"family": Family.TIDE, "exogenous": True}),
    "values": RECIPE.model_copy(
        update={"target": Target.VALUE, "instance_norm": True, "loss": Loss.SQUARED}
    ),
}


def fit(name: str) -> NeuralForecaster:
    candles = {BTC_HOURLY.key: a_walk(400), ETH_HOURLY.key: a_walk(300, seed=1)}
    histories = {key: History.of_candles(one, Timeframe.H1, ()) for key, one in candles.items()}
    return fit_neural(histories, RECIPES[name], "1h")


@pytest.fixture(scope="module", params=["naive", *RECIPES])
def forecaster(request: pytest.FixtureRequest) -> Forecaster:
    return NaiveForecaster() if request.param == "naive" else fit(request.param)


@pytest.fixture(scope="module", params=RECIPES)
def trained(request: pytest.FixtureRequest) -> NeuralForecaster:
    return fit(request.param)


def asked(rows: int = 200, horizon: int = 5, seed: int = 2) -> ForecastInput:
    walk = a_walk(rows, seed=seed)
    known = known_features(walk, Timeframe.H1, ())
    return ForecastInput(BTC_HOURLY, walk.column("close"), horizon, known)


def test_answers_one_path_of_rising_prices_per_input(forecaster: Forecaster) -> None:
    paths = forecaster.forecast([asked(horizon=1), asked(horizon=12, seed=3)])
    assert [path.shape for path in paths] == [(1, len(QUANTILES)), (12, len(QUANTILES))]
    for path in paths:
        assert path.dtype == np.float64
        assert (path > 0).all()
        assert (np.diff(path, axis=1) >= 0).all()


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(forecaster: Forecaster) -> None:
    [long] = forecaster.forecast([asked(horizon=12)])
    [short] = forecaster.forecast([asked(horizon=3)])
    if forecaster.name == "naive":
        # Its errors are counted over as many past paths as fit; the median is the same.
        assert short[:, 2] == pytest.approx(long[:3, 2])
    else:
        assert short == pytest.approx(long[:3])


def test_the_answer_for_a_series_does_not_depend_on_its_company(forecaster: Forecaster) -> None:
    inputs = [asked(seed=seed) for seed in range(5)]
    together = forecaster.forecast(inputs)
    for one, path in zip(inputs, together, strict=True):
        assert forecaster.forecast([one])[0] == pytest.approx(path, rel=1e-5)


def test_nothing_asked_is_nothing_answered(forecaster: Forecaster) -> None:
    assert forecaster.forecast([]) == []


def test_too_short_a_history_is_refused(forecaster: Forecaster) -> None:
    with pytest.raises(InvalidInput, match=str(forecaster.min_history - 1)):
        forecaster.forecast([asked(rows=forecaster.min_history - 1, horizon=1)])
    assert len(forecaster.forecast([asked(rows=forecaster.min_history, horizon=1)])) == 1


def test_too_far_a_horizon_is_refused(forecaster: Forecaster) -> None:
    too_far = forecaster.max_horizon + 1
    with pytest.raises(InvalidInput, match=str(too_far)):
        forecaster.forecast([asked(rows=2000, horizon=too_far)])
    with pytest.raises(InvalidInput):
        forecaster.forecast([asked(horizon=0)])


def test_a_saved_model_answers_the_same_when_loaded(
    trained: NeuralForecaster, tmp_path: Path
) -> None:
    trained.save(tmp_path / "model")
    loaded = NeuralForecaster.load(tmp_path / "model", version="7")
    assert np.array_equal(loaded.forecast([asked()])[0], trained.forecast([asked()])[0])
    assert (loaded.version, loaded.max_horizon, loaded.min_history) == ("7", 12, 48)
    assert loaded.trained_on == {BTC_HOURLY.key, ETH_HOURLY.key}
    assert loaded.timeframe is Timeframe.H1


def test_the_same_seed_gives_the_same_model() -> None:
    one, other = fit("patchtst"), fit("patchtst")
    assert np.array_equal(one.forecast([asked()])[0], other.forecast([asked()])[0])


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    fit("patchtst").save(tmp_path)
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Path.cwd, protocol=2))
    with pytest.raises(ModelUnavailable, match="can't be read"):
        NeuralForecaster.load(tmp_path, version="1")


def test_a_model_that_sees_more_than_prices_refuses_prices_alone() -> None:
    model, request = fit("nhits"), asked()
    with pytest.raises(InvalidInput, match="also sees volume and sentiment"):
        model.forecast([ForecastInput(BTC_HOURLY, request.closes, 5)])
    known = dict(request.known or {}) | {"sentiment": np.zeros(7)}
    with pytest.raises(InvalidInput, match="sentiment row for row with the 200 closes"):
        model.forecast([ForecastInput(BTC_HOURLY, request.closes, 5, known)])
    known["sentiment"] = np.full(200, np.nan)
    with pytest.raises(InvalidInput, match="must be finite"):
        model.forecast([ForecastInput(BTC_HOURLY, request.closes, 5, known)])


def test_files_that_are_not_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="can't be read"):
        NeuralForecaster.load(tmp_path, version="1")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="can't be read"):
        NeuralForecaster.load(tmp_path, version="1")
