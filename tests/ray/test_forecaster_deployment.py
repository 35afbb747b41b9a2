"""The forecaster's deployment: which model answers and why, batches, and a change of champion."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import serve

from finsight.actors.served_forecasts import ServedForecasts
from finsight.deployments.forecaster import Forecaster
from finsight.domain.candle import Series
from finsight.domain.errors import InvalidInput
from finsight.domain.forecast import Basis
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ForecastInput, ModelReference
from finsight.settings import ForecastingSettings, Settings
from finsight.wiring import fit_forecaster, open_model_registry
from tests.builders import BTC_HOURLY, BTC_MINUTES, ETH_HOURLY, a_walk

pytestmark = pytest.mark.timeout(300)

APP = "forecaster-test"
CLOSES = a_walk(400).column("close")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        data_dir=tmp_path_factory.mktemp("data"),
        forecasting=ForecastingSettings(horizon=12, input_candles=48, train_steps=12),
    )


def train(settings: Settings, folder: Path, *, champion: bool) -> ModelReference:
    """A tiny PatchTST of BTC hourly, registered."""
    model = fit_forecaster(settings, Timeframe.H1, {BTC_HOURLY.key: a_walk(300)})
    model.save(folder)
    registry = open_model_registry(settings)
    reference = registry.register(
        "forecaster-1h", folder, params=model.params, metrics=model.metrics, tags={}
    )
    if champion:
        registry.set_champion("forecaster-1h", reference.version)
    return reference


@pytest.fixture(scope="module")
def handle(
    serving: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    train(settings, tmp_path_factory.mktemp("model") / "files", champion=True)
    bound = Forecaster.options(ray_actor_options={"num_cpus": 0}).bind(settings, poll_s=0.2)
    yield serve.run(bound, name=APP, route_prefix=None)
    serve.delete(APP)


@pytest.fixture
def served(handle: Any) -> ServedForecasts:
    return ServedForecasts(APP)


def asked(series: Series = BTC_HOURLY, rows: int = 400, horizon: int = 3) -> ForecastInput:
    return ForecastInput(series, CLOSES[:rows], horizon)


async def test_a_series_it_was_trained_on_gets_the_model(served: ServedForecasts) -> None:
    answer = await served.forecast(asked())
    assert (answer.model, answer.model_version, answer.basis) == (
        "PatchTST",
        "1",
        Basis.EXACT_SERIES,
    )
    assert answer.reason == "PatchTST 1 was trained on this series"
    assert answer.quantiles.shape == answer.naive.shape == (3, 5)
    assert answer.naive[:, 2] == pytest.approx(CLOSES[-1])
    assert not np.array_equal(answer.quantiles, answer.naive)


async def test_intervals_that_rest_on_no_past_errors_are_said_to(served: ServedForecasts) -> None:
    long = await served.forecast(asked())
    short = await served.forecast(ForecastInput(BTC_HOURLY, CLOSES[-200:], 3))
    assert "300 candles are needed to calibrate them on past errors, there are 200" in short.reason
    assert "calibrate" not in long.reason
    assert short.quantiles[:, 2] == pytest.approx(long.quantiles[:, 2])
    assert short.quantiles[:, 1] != pytest.approx(long.quantiles[:, 1], rel=1e-6)


async def test_another_series_of_the_timeframe_gets_the_global_model(
    served: ServedForecasts,
) -> None:
    answer = await served.forecast(asked(ETH_HOURLY))
    assert (answer.model, answer.basis) == ("PatchTST", Basis.SAME_TIMEFRAME)
    assert "trained on other 1h series, not on this one" in answer.reason


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (asked(BTC_MINUTES), "no model of 1m candles has been trained yet"),
        (asked(rows=47), "PatchTST 1 looks back over 48 candles, there are 47"),
        (asked(horizon=13), "trained for 12 candles ahead, 13 were asked for"),
    ],
)
async def test_naive_answers_where_no_model_can_and_says_why(
    served: ServedForecasts, request_: ForecastInput, reason: str
) -> None:
    answer = await served.forecast(request_)
    assert (answer.model, answer.basis) == ("naive", Basis.NAIVE)
    assert answer.reason.startswith("naive: ")
    assert reason in answer.reason
    assert np.array_equal(answer.quantiles, answer.naive)


async def test_what_not_even_naive_can_answer_is_refused(served: ServedForecasts) -> None:
    with pytest.raises(InvalidInput, match="has 32 usable candles"):
        await served.forecast(asked(rows=32, horizon=3))
    with pytest.raises(InvalidInput, match="horizon must be 1 to 720"):
        await served.forecast(asked(horizon=0))


async def test_requests_at_once_are_answered_in_batches_each_with_its_own(
    handle: Any, served: ServedForecasts
) -> None:
    requests = [
        asked(ETH_HOURLY if number % 3 else BTC_MINUTES, 100 + number, 1 + number % 5)
        for number in range(60)
    ]
    refused = asked(rows=10)
    *answers, failure = await asyncio.gather(
        *(served.forecast(request) for request in requests),
        served.forecast(refused),
        return_exceptions=True,
    )
    assert isinstance(failure, InvalidInput)
    for request, answer in zip(requests, answers, strict=True):
        assert not isinstance(answer, BaseException)
        assert answer.quantiles.shape[0] == request.horizon
        assert answer.naive[0, 2] == pytest.approx(request.closes[-1])
    sizes = await handle.recent_batch_sizes.remote()
    assert max(sizes) > 4


async def test_it_says_which_part_of_the_past_its_champion_leans_on(handle: Any) -> None:
    explained = await handle.explain.remote(asked())
    assert (explained.model, explained.model_version) == ("PatchTST", "1")
    assert [(one.first, one.last) for one in explained.segments] == [(352, 375), (376, 399)]
    assert explained.on_last_close or sum(
        one.weight for one in explained.segments
    ) == pytest.approx(1)
    with pytest.raises(InvalidInput, match="has 32 usable candles"):
        await handle.explain.remote(asked(rows=32))


async def test_a_new_champion_takes_over_without_a_pause(
    served: ServedForecasts, settings: Settings, tmp_path: Path
) -> None:
    # Runs last: it changes the champion for all.
    await served.forecast(asked())
    second = await asyncio.to_thread(train, settings, tmp_path / "files", champion=True)
    seen, give_up = [], time.monotonic() + 60
    while second.version not in seen and time.monotonic() < give_up:
        seen.append((await served.forecast(asked())).model_version)
        await asyncio.sleep(0.05)
    assert seen[-1] == second.version
    assert set(seen) <= {"1", second.version}
