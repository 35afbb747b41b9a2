"""What promotion needs of versions that don't serve, and what others need of promotion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from finsight.domain.labelled_texts import LabelledText
from finsight.domain.model_comparison import ModelComparison
from finsight.domain.promotion import PromotionDecision
from finsight.ports.models import Forecaster, ModelReference, SentimentModel


@dataclass(frozen=True)
class ModelReaders:
    """How versions are read that are not served yet. All block.

    Attributes:
        forecaster: reads a version of a forecaster.
        naive: the forecaster that every other one must beat.
        sentiment: reads a version of a sentiment model; for None the one that answers where
            the registry has no champion.
        texts_seen: the `seen_mark` of each text that such a model learnt from, None where it
            keeps no list.

    They raise ModelUnavailable and StoreUnavailable.
    """

    forecaster: Callable[[ModelReference], Forecaster]
    naive: Forecaster
    sentiment: Callable[[ModelReference | None], SentimentModel]
    texts_seen: Callable[[ModelReference | None], frozenset[str] | None]


class PromotionService(Protocol):
    """Compares versions and decides who serves, wherever that is computed."""

    async def compare(
        self, kind: str, version: str, texts: Sequence[LabelledText] | None = None
    ) -> ModelComparison:
        """Hold a version against the champion of its kind, on data new to both.

        Raises:
            InvalidInput: it is the champion itself, or what new data is can't be known.
            NotFound: there is no such version.
            ModelUnavailable, StoreUnavailable: try again later.
        """
        ...

    async def promote(
        self,
        kind: str,
        version: str,
        *,
        by: str,
        reason: str = "",
        force: bool = False,
        texts: Sequence[LabelledText] | None = None,
    ) -> PromotionDecision:
        """Decide whether a version shall serve, write it down, and do it. Raises: as `compare`."""
        ...
