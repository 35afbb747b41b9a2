"""Who served before a champion that was promoted, and who was sent away again."""

from __future__ import annotations

from finsight.domain.promotion import PromotionDecision, Verdict
from finsight.ports.models import ModelReference, ModelRegistry

_PROMOTING = (Verdict.PROMOTED, Verdict.FORCED)
_LOOKED_THROUGH = 500


def promotion_of(registry: ModelRegistry, champion: ModelReference) -> PromotionDecision | None:
    """Return the decision that made `champion` serve, where it was a promotion.

    None where its alias was moved without a decision, where it serves again since another
    was rolled back, and where nothing served before it. Raises: StoreUnavailable.
    """
    for decision in registry.decisions(champion.kind, _LOOKED_THROUGH):
        if decision.verdict is Verdict.REFUSED:
            continue
        # The newest that changed anything.
        promoted = decision.verdict in _PROMOTING and decision.version == champion.version
        return decision if promoted and decision.before not in (None, champion.version) else None
    return None


def predecessor(registry: ModelRegistry, champion: ModelReference) -> ModelReference | None:
    """Return the version that `champion` was promoted over. Raises: StoreUnavailable."""
    decision = promotion_of(registry, champion)
    if decision is None:
        return None
    found = (one for one in registry.versions(champion.kind) if one.version == decision.before)
    return next(found, None)


def sent_away(registry: ModelRegistry, kind: str, version: str) -> PromotionDecision | None:
    """Return the newest decision that rolled `version` back, or None.

    Such a version comes to serve again by a person's force alone. Raises: StoreUnavailable.
    """
    for decision in registry.decisions(kind, _LOOKED_THROUGH):
        if decision.verdict is Verdict.ROLLED_BACK and decision.before == version:
            return decision
    return None
