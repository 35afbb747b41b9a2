"""Explain sentiments: which words they came from, asked of the model that serves."""

from __future__ import annotations

from collections.abc import Sequence

from finsight.domain.attribution import Attribution, explaining
from finsight.domain.errors import ModelUnavailable
from finsight.domain.sentiment import SentimentScore
from finsight.ports.models import SentimentService

_AT_ONCE = 64
"""Texts scored in one go: others that wait for the model get their turn in between."""

_ATTEMPTS = 3


class SentimentExplaining:
    """Explains scores of a model that many share."""

    def __init__(self, model: SentimentService) -> None:
        self._model = model

    async def explain(self, texts: Sequence[str]) -> list[Attribution]:
        """Return one attribution a text, all by one version of the model.

        Raises: InvalidInput (too many words), ModelUnavailable.
        """
        begun = explaining(texts)
        wanted = [text for one in begun for text in one.to_score]
        for _ in range(_ATTEMPTS):
            scores: list[SentimentScore] = []
            for start in range(0, len(wanted), _AT_ONCE):
                scores += await self._model.score(wanted[start : start + _AT_ONCE])
            # Another model may have taken over on the way.
            if len({(score.model, score.model_version) for score in scores}) <= 1:
                break
        else:
            raise ModelUnavailable("several models answer in turn; ask again in a moment")
        own = iter(scores)
        return [one.attribution([next(own) for _ in one.to_score]) for one in begun]
