"""What the registry holds, as it is shown: versions, their aliases, their making."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.errors import InvalidInput
from finsight.domain.promotion import CHALLENGER, CHAMPION, PromotionDecision
from finsight.domain.timeframe import UtcDatetime
from finsight.ports.models import ModelReference, ModelRegistry
from finsight.services.promotion import version_of

KIND_PATTERN = r"^[A-Za-z0-9_-]{1,50}$"
"""What a kind looks like; MLflow's filters take it as it is, so nothing else may reach them."""


class ModelCard(BaseModel):
    """One version; the champion of its kind is the one that answers."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(examples=["forecaster-1h", "sentiment"])
    version: str
    aliases: tuple[str, ...] = Field(examples=[["champion"]])
    created_at: UtcDatetime
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def is_champion(self) -> bool:
        return CHAMPION in self.aliases


class ModelDetails(ModelCard):
    """One version with how it was made, and every decision on it."""

    params: Mapping[str, str]
    location: str
    decisions: tuple[PromotionDecision, ...]


def list_models(registry: ModelRegistry, kind: str | None = None) -> list[ModelCard]:
    """Return every version, of `kind` or of all, newest first. Raises: StoreUnavailable."""
    found = registry.versions(kind)
    holders = {name: _aliases(registry, name) for name in {one.kind for one in found}}
    return [ModelCard(**_card(one, holders[one.kind])) for one in found]


def show_model(registry: ModelRegistry, kind: str, version: str) -> ModelDetails:
    """Return one version. Raises: NotFound, StoreUnavailable."""
    reference = version_of(registry, kind, version)
    decisions = registry.decisions(kind, limit=1_000)
    return ModelDetails(
        **_card(reference, _aliases(registry, kind)),
        params=dict(registry.params(reference)),
        location=reference.location,
        decisions=tuple(one for one in decisions if version in (one.version, one.before)),
    )


def newest_candidate(registry: ModelRegistry, kind: str) -> str:
    """Return the challenger's version, or else the newest that doesn't serve.

    Raises: InvalidInput (every version serves or none is there), StoreUnavailable.
    """
    challenger = registry.holder(kind, CHALLENGER)
    if challenger is not None:
        return challenger.version
    champion = registry.champion(kind)
    for one in registry.versions(kind):
        if champion is None or one.version != champion.version:
            return one.version
    raise InvalidInput(f"{kind} has no version besides the one that serves: train another first")


def _aliases(registry: ModelRegistry, kind: str) -> dict[str, str]:
    """Return the version that holds each alias."""
    holders = {alias: registry.holder(kind, alias) for alias in (CHAMPION, CHALLENGER)}
    return {alias: one.version for alias, one in holders.items() if one is not None}


def _card(reference: ModelReference, holders: Mapping[str, str]) -> dict[str, object]:
    return {
        "kind": reference.kind,
        "version": reference.version,
        "aliases": tuple(
            alias for alias, version in holders.items() if version == reference.version
        ),
        "created_at": reference.created_at,
        "metrics": dict(reference.metrics),
        "tags": dict(reference.tags),
    }
