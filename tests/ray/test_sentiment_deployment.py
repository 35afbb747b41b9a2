"""The sentiment deployment on a real, one-CPU Serve."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve import Application
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ServeDeploySchema

from finsight.actors.served_sentiment import ServedSentiment
from finsight.deployments.sentiment import Sentiment
from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.domain.sentiment import MAX_TEXT_CHARACTERS, SentimentScore

APP = "sentiment-test"


class CountingWords:
    """A sentiment model that takes its time: positive texts are those with "up" in them."""

    name = "counting-words"

    def __init__(self, version: str = "1") -> None:
        self.version = version

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def score(self, texts: Sequence[str]) -> list[SentimentScore]:
        time.sleep(0.05)
        if any("explode" in text for text in texts):
            raise ModelUnavailable("the model can't read this")
        return [
            SentimentScore(
                negative=0.0 if "up" in text else 1.0,
                neutral=0.0,
                positive=1.0 if "up" in text else 0.0,
                model=self.name,
                model_version=self.version,
            )
            for text in texts
        ]


def load_model(demanded: str | None = None) -> CountingWords:
    if demanded == "nowhere":
        raise ModelUnavailable("there is no model nowhere")
    return CountingWords(demanded or "1")


def build(args: dict[str, str]) -> Application:
    """The application as a config file names it."""
    return Sentiment.bind(load_model)


def deploy(**tuning: Any) -> DeploymentHandle[Any]:
    """Deploy as `serve deploy` does: the same code again only reconfigures the replica."""
    deployment = {
        "name": "Sentiment",
        "ray_actor_options": {"num_cpus": 0},
        "user_config": {"batch_wait_timeout_s": 0.01} | tuning,
    }
    application = {
        "name": APP,
        "route_prefix": None,
        "import_path": f"{__name__}:build",
        "deployments": [deployment],
    }
    config = ServeDeploySchema.model_validate({"applications": [application]})
    _get_global_client().deploy_apps(config, _blocking=True)
    return serve.get_deployment_handle("Sentiment", app_name=APP)


@pytest.fixture(scope="module")
def started(serving: str) -> Iterator[Any]:
    yield deploy()
    serve.delete(APP)


async def test_texts_of_many_callers_share_forward_passes(started: Any) -> None:
    await started.score.remote(["up"])
    before = len(await started.batch_sizes.remote())
    answers = await asyncio.gather(
        *(started.score.remote([f"{number} up" if number % 2 else "down"]) for number in range(64))
    )
    assert [answer[0].score for answer in answers] == [1.0 if n % 2 else -1.0 for n in range(64)]
    sizes = (await started.batch_sizes.remote())[before:]
    assert sum(sizes) == 64
    assert max(sizes) >= 16
    assert len(sizes) <= 16


async def test_many_texts_of_one_caller_are_one_pass_and_keep_their_order(started: Any) -> None:
    before = len(await started.batch_sizes.remote())
    texts = ["up" if number % 3 else "down" for number in range(40)]
    scores = await started.score.remote(texts)
    assert [score.score > 0 for score in scores] == ["up" in text for text in texts]
    assert (await started.batch_sizes.remote())[before:] == [40]


async def test_no_texts_are_no_scores(started: Any) -> None:
    assert await started.score.remote([]) == []


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["up", "  "], r"texts\[1\] is blank"),
        (["a" * (MAX_TEXT_CHARACTERS + 1)], r"texts\[0\] has 100,001 characters"),
        (["up", 7], r"texts\[1\] is int"),
    ],
)
async def test_what_is_no_text_is_refused_by_its_index(
    started: Any, texts: list[Any], message: str
) -> None:
    with pytest.raises(RayTaskError) as raised:
        await started.score.remote(texts)
    assert isinstance(raised.value.cause, InvalidInput)
    with pytest.raises(InvalidInput, match=message):
        raise raised.value.cause


async def test_a_text_that_fails_does_not_fail_its_neighbours(started: Any) -> None:
    answers = await asyncio.gather(
        *(
            started.score.remote([text])
            for text in ["up 1", "", "up 2", "this will explode", "up 3"]
        ),
        return_exceptions=True,
    )
    good = [answers[index] for index in (0, 2, 4)]
    assert [answer[0].score for answer in good] == [1.0, 1.0, 1.0]
    assert isinstance(answers[1], RayTaskError)
    assert isinstance(answers[1].cause, InvalidInput)
    assert isinstance(answers[3], RayTaskError)
    assert isinstance(answers[3].cause, ModelUnavailable)


async def test_an_actor_sees_the_error_itself(started: Any) -> None:
    service = ServedSentiment(APP)
    with pytest.raises(InvalidInput, match="blank"):
        await service.score(["   "])
    assert (await service.score(["up"]))[0].score == 1.0


async def test_a_deployment_that_is_not_there_is_a_model_unavailable(started: Any) -> None:
    with pytest.raises(ModelUnavailable, match="does not answer"):
        await ServedSentiment("nobody", timeout_s=0.5).score(["up"])


async def test_batches_change_while_it_serves(started: Any) -> None:
    replica = (await started.score.remote(["up"]))[0]
    assert replica.model_version == "1"
    handle = await asyncio.to_thread(deploy, max_batch_size=4)
    before = len(await handle.batch_sizes.remote())
    await asyncio.gather(*(handle.score.remote(["up"]) for _ in range(32)))
    sizes = (await handle.batch_sizes.remote())[before:]
    assert before > 0, "the replica was replaced, not reconfigured"
    assert max(sizes) == 4


async def test_a_token_budget_bounds_a_pass(started: Any) -> None:
    handle = await asyncio.to_thread(deploy, max_batch_size=64, token_budget=100)
    before = len(await handle.batch_sizes.remote())
    long_text = "up " * 30
    await asyncio.gather(*(handle.score.remote([long_text]) for _ in range(12)))
    sizes = (await handle.batch_sizes.remote())[before:]
    assert max(sizes) == 3
    giant = await handle.score.remote(["up " * 5_000])
    assert giant[0].score == 1.0


async def test_another_model_takes_over_while_the_first_one_serves(started: Any) -> None:
    handle = await asyncio.to_thread(deploy, model="2")
    assert (await handle.score.remote(["up"]))[0].model_version == "2"
    assert len(await handle.batch_sizes.remote()) > 1


async def test_a_model_that_can_not_be_loaded_leaves_the_old_one_serving(started: Any) -> None:
    await asyncio.to_thread(deploy, model="2")
    handle = await asyncio.to_thread(deploy, model="nowhere")
    assert (await handle.score.remote(["up"]))[0].model_version == "2"
