"""Which part of its past a forecast leans on: forecasters that lean on what we know."""

from collections.abc import Sequence

import numpy as np
import pytest

from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.commands.forecast_words import explanation_in_words
from finsight.domain.errors import InvalidInput
from finsight.domain.forecast import QUANTILES
from finsight.ports.models import ForecastInput
from finsight.services.forecast_explanation import explain_forecast
from tests.builders import BTC_HOURLY, a_walk
from tests.unit.test_routes_predictions import BTC, platform  # noqa: F401

CLOSES = a_walk(200).column("close")


class DriftOf:
    """Implements `Forecaster`: what the price did over some past candles, it does again."""

    name, version, timeframe, trained_on = "drift", "1", None, frozenset[str]()
    min_history, max_horizon = 120, 24

    def __init__(self, newest: int, oldest: int) -> None:
        self._newest, self._oldest = newest, oldest

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        answers = []
        for asked in inputs:
            logs = np.log(asked.closes)
            move = logs[-1 - self._newest] - logs[-1 - self._oldest]
            steps = np.arange(1, asked.horizon + 1)[:, None] / asked.horizon
            answers.append(asked.closes[-1] * np.exp(move * steps) * np.ones(len(QUANTILES)))
        return answers


def asked(rows: int = 200, horizon: int = 12) -> ForecastInput:
    return ForecastInput(BTC_HOURLY, CLOSES[-rows:], horizon)


def test_a_model_that_looks_at_the_last_day_puts_all_weight_there() -> None:
    explained = explain_forecast(DriftOf(newest=0, oldest=24), asked())
    assert [(one.first, one.last) for one in explained.segments] == [
        (80, 103),
        (104, 127),
        (128, 151),
        (152, 175),
        (176, 199),
    ]
    assert [one.weight for one in explained.segments] == [0, 0, 0, 0, 1]
    last = explained.segments[-1]
    # It says that what the price did there happens again: so it is all of the forecast.
    assert last.effect_percent == pytest.approx(last.moved_percent)
    assert not explained.on_last_close


def test_an_effect_stands_where_it_comes_from_and_has_its_sign() -> None:
    explained = explain_forecast(DriftOf(newest=24, oldest=72), asked())
    weights = [one.weight for one in explained.segments]
    assert weights[0] == weights[1] == weights[4] == 0
    assert sum(weights) == pytest.approx(1)
    for one in explained.segments[2:4]:
        assert one.effect_percent == pytest.approx(one.moved_percent)


def test_naive_leans_on_the_last_close_alone() -> None:
    explained = explain_forecast(NaiveForecaster(), asked())
    assert explained.on_last_close
    assert {one.effect_percent for one in explained.segments} == {0}
    assert "leans on the last close alone" in explanation_in_words(explained.model_dump())


def test_the_oldest_stretch_may_be_short_and_nothing_before_the_window_is_touched() -> None:
    explained = explain_forecast(DriftOf(newest=0, oldest=119), asked(), segment=50)
    assert [(one.first, one.last) for one in explained.segments] == [
        (80, 99),
        (100, 149),
        (150, 199),
    ]
    assert explained.segments[0].weight > 0


def test_the_words_have_a_bar_for_each_stretch() -> None:
    text = explanation_in_words(explain_forecast(DriftOf(0, 24), asked()).model_dump())
    assert text.count("\n") == 6
    assert text.splitlines()[-1].endswith("100% " + "█" * 24)


def test_a_stretch_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 1 candle"):
        explain_forecast(NaiveForecaster(), asked(), segment=0)


async def test_the_route_explains_when_asked_with_the_candles_times(platform) -> None:  # noqa: F811
    plain = (await platform.client.post("/v1/predictions", json=BTC)).json()
    assert plain["explanation"] is None
    answer = await platform.client.post("/v1/predictions", json=BTC | {"explain": True})
    explanation = answer.json()["explanation"]
    assert explanation["on_last_close"]
    assert explanation["segments"][-1]["opened_until"] == answer.json()["forecast"]["origin"]
