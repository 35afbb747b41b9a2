"""What every forecaster promises."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.adapters.models.patchtst_forecaster import PatchTstForecaster
from finsight.adapters.models.patchtst_training import fit_patchtst
from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.domain.forecast import QUANTILES
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import Forecaster, ForecastInput
from tests.builders import BTC_HOURLY, ETH_HOURLY, a_walk


@pytest.fixture(scope="module")
def patchtst() -> PatchTstForecaster:
    candles = {BTC_HOURLY.key: a_walk(400), ETH_HOURLY.key: a_walk(300, seed=1)}
    return fit_patchtst(Timeframe.H1, candles, input_size=48, horizon=12, steps=15, batch_size=16)


FORECASTERS: dict[str, Callable[[PatchTstForecaster], Forecaster]] = {
    "naive": lambda _: NaiveForecaster(),
    "patchtst": lambda fitted: fitted,
}


@pytest.fixture(params=FORECASTERS)
def forecaster(request: pytest.FixtureRequest, patchtst: PatchTstForecaster) -> Forecaster:
    return FORECASTERS[request.param](patchtst)


def asked(rows: int = 200, horizon: int = 5, seed: int = 2) -> ForecastInput:
    return ForecastInput(BTC_HOURLY, a_walk(rows, seed=seed).column("close"), horizon)


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
    patchtst: PatchTstForecaster, tmp_path: Path
) -> None:
    patchtst.save(tmp_path / "model")
    loaded = PatchTstForecaster.load(tmp_path / "model", version="7")
    assert np.array_equal(loaded.forecast([asked()])[0], patchtst.forecast([asked()])[0])
    assert (loaded.version, loaded.max_horizon, loaded.min_history) == ("7", 12, 48)
    assert loaded.trained_on == {BTC_HOURLY.key, ETH_HOURLY.key}
    assert loaded.timeframe is Timeframe.H1


def test_the_same_seed_gives_the_same_model() -> None:
    def moves() -> np.ndarray:
        model = fit_patchtst(
            Timeframe.H1, {"a": a_walk(400)}, input_size=48, horizon=6, steps=12, batch_size=16
        )
        return model.log_moves(a_walk(48, seed=5).column("close")[None, :])

    assert np.array_equal(moves(), moves())


def test_files_that_are_not_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="can't be read"):
        PatchTstForecaster.load(tmp_path, version="1")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="can't be read"):
        PatchTstForecaster.load(tmp_path, version="1")
