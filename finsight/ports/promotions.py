"""What FinSight needs of whoever decides which version serves."""

from collections.abc import Sequence
from typing import Protocol

from finsight.domain.labelled_texts import LabelledText
from finsight.domain.model_comparison import ModelComparison
from finsight.domain.promotion import PromotionDecision


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
