"""Versions that answer in a process of their own: kept apart from the answers, whatever they do."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finsight.actors import shadow_forecasts
from finsight.actors.shadow_forecasts import ShadowForecasts
from finsight.actors.shadow_scores import ShadowScores
from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.domain.forecast import Basis, Role
from finsight.domain.promotion import CHALLENGER
from finsight.domain.sentiment import SentimentLabel
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ForecastInput, ForecastService, ModelReference, ServedForecast
from finsight.services.forecast_scoring import ForecastScoring
from finsight.services.forecasting import Forecasting
from finsight.settings import ForecastingSettings, ModelsSettings, Settings
from finsight.wiring import (
    fit_forecaster,
    open_article_store,
    open_candle_store,
    open_forecast_store,
    open_model_registry,
)
from tests.builders import BTC_HOURLY, HOUR, NOON, a_score, a_sentiment, a_walk, an_article
from tests.fixed_clock import FixedClock
from tests.ray.test_champion_swaps import a_classifier

pytestmark = pytest.mark.timeout(300)

LAST = NOON + 149 * HOUR
HORIZON = 6


class Champion:
    """Implements `ForecastService`, as naive does."""

    async def forecast(self, request: ForecastInput) -> ServedForecast:
        [path] = NaiveForecaster().forecast([request])
        return ServedForecast(path, path, "naive", "1", Basis.NAIVE, "for a test")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        data_dir=tmp_path_factory.mktemp("data"),
        forecasting=ForecastingSettings(horizon=HORIZON, input_candles=48, train_steps=2),
    )


@pytest.fixture(scope="module")
def versions(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> list[ModelReference]:
    """A good one, and one whose files nobody can read."""
    registry = open_model_registry(settings)
    good, broken = tmp_path_factory.mktemp("good") / "files", tmp_path_factory.mktemp("broken")
    model = fit_forecaster(settings, Timeframe.H1, {BTC_HOURLY.key: a_walk(300)})
    model.save(good)
    (broken / "model.json").write_text("{}")
    return [
        registry.register("forecaster-1h", files, params={}, metrics={}, tags={})
        for files in (good, broken)
    ]


def forecasting(settings: Settings, clock: FixedClock) -> Callable[[ForecastService], Forecasting]:
    def over(service: ForecastService) -> Forecasting:
        return Forecasting(
            open_candle_store(settings),
            open_article_store(settings),
            open_forecast_store(settings),
            None,
            service,
            clock,
            48,
        )

    return over


async def until(done: Callable[[], Any]) -> None:
    give_up = time.monotonic() + 120
    while not await done():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.1)


async def test_shadows_are_kept_and_scored_and_never_an_answer(
    ray_cluster: Any, settings: Settings, versions: list[ModelReference]
) -> None:
    store, candles = open_forecast_store(settings), open_candle_store(settings)
    walk = a_walk(170)
    await candles.upsert(BTC_HOURLY, walk)
    clock = FixedClock(LAST + HOUR)
    made = forecasting(settings, clock)
    answer = (await made(Champion()).forecast(BTC_HOURLY, HORIZON, LAST)).forecast
    shadows = ShadowForecasts(settings, made)
    good, broken = versions
    shadows.follow(Timeframe.H1, [broken, good])
    started = time.monotonic()
    shadows.offer(BTC_HOURLY, HORIZON, LAST)
    shadows.offer(BTC_HOURLY, HORIZON, LAST - HOUR)
    assert time.monotonic() - started < 0.1

    async def both_are_due() -> bool:
        clock.moment = LAST + 20 * HOUR
        return len(await store.due(BTC_HOURLY, clock.moment, 10)) == 3

    await until(both_are_due)
    latest = await store.latest(BTC_HOURLY)
    assert latest == answer
    assert [one.forecast.id for one in await store.recent(None, 10)] == [answer.id]

    scoring = ForecastScoring(candles, store, clock)
    errors = await scoring.score_due(BTC_HOURLY)
    roles = sorted((error.model_version, error.role, error.origin) for error in errors)
    assert roles == [
        ("1", Role.CHAMPION, LAST),
        ("1", Role.SHADOW, LAST - HOUR),
        ("1", Role.SHADOW, LAST),
    ]
    by_role = {record.role: record.forecasts for record in await scoring.record()}
    assert by_role == {Role.CHAMPION: 1, Role.SHADOW: 2}

    # Killed in the middle: the next one finds a new process.
    ray_cluster.kill(shadows._process._actor, no_restart=True)
    shadows.follow(Timeframe.H1, [good])
    for hours in (2, 3):
        shadows.offer(BTC_HOURLY, HORIZON, LAST - hours * HOUR)

    async def another_was_made() -> bool:
        return len(await store.due(BTC_HOURLY, clock.moment, 10)) >= 1

    await until(another_was_made)
    shadows.follow(Timeframe.H1, [])


async def test_the_challenger_scores_articles_after_the_champion(
    ray_cluster: Any, settings: Settings, tmp_path: Path
) -> None:
    registry, articles = open_model_registry(settings), open_article_store(settings)
    a_classifier(tmp_path, SentimentLabel.NEGATIVE)
    challenger = registry.register(
        "sentiment", tmp_path, params={}, metrics={}, tags={"model": "tiny"}
    )
    registry.set_alias("sentiment", CHALLENGER, challenger.version)
    bad, good = (an_article(canonical_url=f"https://news.example/{n}") for n in range(2))
    await articles.add([bad, good])
    fell = a_sentiment(negative=0.9, neutral=0.1, positive=0.0)
    await articles.save_scores([a_score(bad, sentiment=fell), a_score(good)])

    quiet = ShadowScores(settings)
    quiet.offer([bad.id, good.id])
    assert quiet._task is None
    shadows = ShadowScores(settings.model_copy(update={"models": ModelsSettings(shadow=True)}))
    shadows.offer([bad.id, good.id])

    async def scored() -> bool:
        return bool(await articles.shadow_agreement())

    await until(scored)
    [agreement] = await articles.shadow_agreement()
    assert (agreement.shadow, agreement.shadow_version) == ("tiny", challenger.version)
    assert (agreement.articles, agreement.same_label) == (2, 0.5)
    shadows._process.end()


async def test_what_a_slow_shadow_leaves_behind_is_dropped_and_the_offer_never_waits(
    settings: Settings, versions: list[ModelReference], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_forecasts, "MOST_WAITING", 2)
    asked: list[Any] = []

    class NeverDone:
        async def forecast(self, *given: object) -> None:
            asked.append(given)
            await asyncio.Event().wait()

    dropped: list[str] = []
    shadows = ShadowForecasts(settings, lambda service: NeverDone())  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(shadows, "_count", dropped.append)
    shadows.follow(Timeframe.H1, versions[:1])
    for number in range(5):
        shadows.offer(BTC_HOURLY, HORIZON, LAST - number * HOUR)
    await asyncio.sleep(0)
    assert dropped == ["dropped"] * 3
    assert len(asked) == 1
    assert shadows._task is not None
    shadows._task.cancel()
