"""Which sentiment model serves: the one demanded, the registry's champion, or another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from finsight.deployments.canary import Canary, takes
from finsight.deployments.champion_following import POLL_S, AliasFollowing
from finsight.domain.errors import FinSightError
from finsight.domain.promotion import CHALLENGER
from finsight.domain.sentiment import SentimentScore
from finsight.ports.models import ModelReference, SentimentModel
from finsight.settings import Settings
from finsight.wiring import open_model_registry, read_sentiment_model

KIND = "sentiment"
_WARM_UP = ["Bitcoin rises.", "Bitcoin falls as traders sell, and the market waits. " * 4]
_log = logging.getLogger(__name__)


class SentimentVersions:
    """Holds the `model` that serves, and puts another in its place between two passes.

    `load_model(name)` loads a model that is demanded; `load_model()` what the settings
    name. With `settings`, and while no model is demanded, the registry is followed: a new
    champion is loaded and warmed beside the old one, then it is `model`.
    """

    def __init__(
        self,
        load_model: Callable[..., SentimentModel],
        settings: Settings | None,
        poll_s: float = POLL_S,
    ) -> None:
        self.model: SentimentModel | None = None
        self._load_model = load_model
        self._poll_s = poll_s
        self._demanded: str | None = None
        self._settings_share = settings.models.canary_share if settings else 0.0
        self._share: float | None = None
        self._champion = _following(settings) if settings else None
        self._challenger = _following(settings, CHALLENGER) if settings else None
        self._canary = Canary(self._challenger) if self._challenger else None
        self._task: asyncio.Task[None] | None = None

    async def serve(self, demanded: str | None) -> None:
        """Load `demanded`, or None: what the registry and the settings say; then serve it.

        Raises: ModelUnavailable (`model` is as it was).
        """
        if self.model is None or demanded != self._demanded:
            self.model = await self._loaded(demanded)
            self._demanded = demanded
        self.keep_following()

    def keep_following(self) -> None:
        """Follow the registry from now on, unless it is being followed."""
        if self._champion is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._follow())

    def give_challenger(self, share: float | None) -> None:
        """Let the challenger answer this share of the requests; None: as the settings say."""
        self._share = share

    async def by_challenger(self, texts: list[str]) -> list[SentimentScore] | None:
        """Return the challenger's scores where these texts are its share; else None."""
        if self._canary is None or not self._challengers_share:
            return None
        key = "\n".join(texts).encode(errors="surrogatepass")
        if not takes(self._challengers_share, key):
            return None
        return await self._canary.answer(lambda model: model.score(texts))

    def description(self) -> str:
        """What serves, in words, and what is wrong with a champion that should."""
        serves = f"{self.model.name} {self.model.version}" if self.model else "nothing yet"
        trouble = self._champion.trouble if self._champion and not self._demanded else ""
        return f"{serves} ({trouble})" if trouble else serves

    @property
    def _challengers_share(self) -> float:
        return self._settings_share if self._share is None else self._share

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self._look()
            except FinSightError as exc:
                _log.error("the sentiment model that serves stays: %s", exc)

    async def _look(self) -> None:
        if self._champion is None or self._challenger is None:
            return
        if self._challengers_share:
            await self._challenger.look()
        if self._demanded is None and await self._champion.look():
            model = self._champion.model or await self._without_champion()
            # Another may have been demanded meanwhile.
            if self._demanded is None:
                self.model = model

    async def _loaded(self, demanded: str | None) -> SentimentModel:
        if demanded:
            return await asyncio.to_thread(_warmed, partial(self._load_model, demanded))
        if self._champion is not None:
            await self._champion.look()
            if self._champion.model is not None:
                return self._champion.model
        return await self._without_champion()

    async def _without_champion(self) -> SentimentModel:
        return await asyncio.to_thread(_warmed, self._load_model)


def _following(settings: Settings, *alias: str) -> AliasFollowing[SentimentModel]:
    def read(reference: ModelReference) -> SentimentModel:
        return _warmed(lambda: read_sentiment_model(settings, reference))

    return AliasFollowing(KIND, open_model_registry(settings), read, *alias)


def _warmed(load: Callable[[], SentimentModel]) -> SentimentModel:
    model = load()
    model.score(_WARM_UP)
    return model
