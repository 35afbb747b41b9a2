"""The sentiment model, behind a batching queue that many callers share."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve.metrics import Histogram

from finsight.deployments.champion_following import POLL_S
from finsight.deployments.sentiment_versions import KIND, SentimentVersions
from finsight.domain.errors import FinSightError, InvalidInput, ModelUnavailable
from finsight.domain.sentiment import MAX_TEXT_CHARACTERS, SentimentScore
from finsight.ports.models import SentimentModel
from finsight.settings import Settings

_CONCURRENT_BATCHES = 8
_LONG_REQUEST_CHARACTERS = 20_000
_log = logging.getLogger(__name__)


class SentimentTuning(BaseModel):
    """The `user_config` of serve_config.yaml: changed while the replica serves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_batch_size: int = Field(default=64, ge=1, description="texts in one forward pass")
    token_budget: int = Field(default=4096, ge=1, description="tokens in one forward pass")
    batch_wait_timeout_s: float = Field(default=0.002, ge=0, description="wait for company")
    model: str | None = Field(
        default=None, description='a folder, a hub id or "compact"; unset: as the settings say'
    )
    canary_share: float | None = Field(
        default=None, ge=0, le=1, description="answered by the challenger; unset: as the settings"
    )


@dataclass
class _Request:
    """One caller's texts on their way through the queue.

    `places` is how much of a batch they take, out of `max_batch_size`: by their number or
    by their tokens, whichever is more. One that is larger than a batch takes a whole one.
    """

    texts: list[str]
    tokens: int
    tuning: Callable[[], SentimentTuning]
    scores: list[SentimentScore] | None = field(default=None)
    error: FinSightError | None = field(default=None)

    @property
    def places(self) -> int:
        tuning = self.tuning()
        by_tokens = ceil(self.tokens * tuning.max_batch_size / tuning.token_budget)
        return min(max(len(self.texts), by_tokens), tuning.max_batch_size)


def _places(requests: list[_Request]) -> int:
    return sum(request.places for request in requests)


@serve.deployment(
    name="Sentiment",
    # Room for every batch that may form while others run: a queue can't form a larger one.
    max_ongoing_requests=1024,
    user_config=SentimentTuning().model_dump(),
)
class Sentiment:
    """Scores texts, many callers' texts to one forward pass.

    `load_model()` loads the model the settings name, `load_model(name)` another one; it
    runs on the replica that will use the model. Ray's queue gathers what arrives within
    the wait; what gathered while a pass ran goes into the next pass together, so that
    batches grow with load by themselves.

    With `settings` it follows the registry: a new champion takes over between two passes.
    The texts of one request are scored in one pass, and so by one version.
    """

    def __init__(
        self,
        load_model: Callable[..., SentimentModel],
        settings: Settings | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self._versions = SentimentVersions(load_model, settings, poll_s)
        self._tuning = SentimentTuning()
        self._waiting: deque[_Request] = deque()
        self._pass = asyncio.Lock()
        self._batch_sizes: deque[int] = deque(maxlen=10_000)
        self._batch_texts = Histogram(
            "finsight_sentiment_batch_texts",
            description="Texts scored in one forward pass.",
            boundaries=[1, 2, 4, 8, 16, 32, 64, 128, 256],
        )

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over `user_config`; another model is loaded and warmed before it is used.

        A model that can't be loaded leaves the one that serves in place: the error is
        logged, and every answer names the model it came from.

        Raises:
            ModelUnavailable: there was no model before, and this one can't be loaded.
        """
        tuning = SentimentTuning.model_validate(user_config)
        try:
            await self._versions.serve(tuning.model)
        except FinSightError as exc:
            if self._versions.model is None:
                raise
            _log.error("%s goes on serving: %s", self._versions.model.name, exc)
            tuning = tuning.model_copy(update={"model": self._tuning.model})
        self._versions.give_challenger(tuning.canary_share)
        # Together, with nothing in between: a request's places depend on both.
        self._tuning = tuning
        queue: Any = self._score_batch
        queue.set_max_batch_size(tuning.max_batch_size)
        queue.set_batch_wait_timeout_s(tuning.batch_wait_timeout_s)

    async def check_health(self) -> None:
        self._versions.keep_following()

    async def models(self) -> dict[str, str]:
        """Return what serves, and what is wrong with a champion that should."""
        return {KIND: self._versions.description()}

    async def score(self, texts: list[str]) -> list[SentimentScore]:
        """Return one score a text, in the order given.

        Raises:
            InvalidInput: a text is blank, too long or not text; says which. Checked before
                batching, where an error would fail every caller in the batch.
            ModelUnavailable: the model failed on these texts.
        """
        _check(texts)
        if not texts:
            return []
        if (by_challenger := await self._versions.by_challenger(texts)) is not None:
            return by_challenger
        tokens = await self._count_tokens(texts)
        request: _Request = await self._score_batch(_Request(texts, tokens, lambda: self._tuning))
        if request.error is not None:
            raise request.error
        return request.scores or []

    def batch_sizes(self) -> list[int]:
        """Return how many texts the latest forward passes of this replica had, oldest first."""
        return list(self._batch_sizes)

    async def _count_tokens(self, texts: list[str]) -> int:
        model = self._ready()
        if sum(map(len, texts)) < _LONG_REQUEST_CHARACTERS:
            return sum(model.count_tokens(texts))
        return sum(await asyncio.to_thread(model.count_tokens, texts))

    @serve.batch(max_concurrent_batches=_CONCURRENT_BATCHES, batch_size_fn=_places)
    async def _score_batch(self, requests: list[_Request]) -> list[_Request]:
        self._waiting.extend(requests)
        async with self._pass:
            while any(request.scores is None and request.error is None for request in requests):
                together = self._next_pass()
                try:
                    await asyncio.to_thread(_score_together, self._ready(), together)
                finally:
                    # Whatever happened, nobody waits for ever for a pass that is over.
                    for request in together:
                        if request.scores is None and request.error is None:
                            request.error = ModelUnavailable("the sentiment model failed")
                texts = sum(len(request.texts) for request in together)
                self._batch_sizes.append(texts)
                self._batch_texts.observe(texts)
        return requests

    def _next_pass(self) -> list[_Request]:
        """Take what fits in one pass from those waiting, longest waiting first."""
        together = [self._waiting.popleft()]
        places = together[0].places
        while self._waiting and places + self._waiting[0].places <= self._tuning.max_batch_size:
            places += self._waiting[0].places
            together.append(self._waiting.popleft())
        return together

    def _ready(self) -> SentimentModel:
        if self._versions.model is None:
            raise ModelUnavailable("the sentiment model is still being loaded; try again")
        return self._versions.model


def _check(texts: list[str]) -> None:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"texts[{index}] is {type(text).__name__}, expected text")
        if not text or text.isspace():
            raise InvalidInput(f"texts[{index}] is blank; there is nothing to score")
        if len(text) > MAX_TEXT_CHARACTERS:
            raise InvalidInput(
                f"texts[{index}] has {len(text):,} characters; at most "
                f"{MAX_TEXT_CHARACTERS:,} are scored at once"
            )


def _score_together(model: SentimentModel, requests: list[_Request]) -> None:
    """Score all requests in one pass; if that fails, each alone, so that only its cause fails."""
    try:
        scores = iter(model.score([text for request in requests for text in request.texts]))
    except FinSightError as exc:
        if len(requests) == 1:
            requests[0].error = exc
            return
        for request in requests:
            _score_together(model, [request])
        return
    for request in requests:
        request.scores = [next(scores) for _ in request.texts]
