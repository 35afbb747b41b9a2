"""Who serves: decided, written down with who and why, and undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.promotion import CHALLENGER, PromotionDecision, Verdict
from finsight.ports.clock import Clock
from finsight.ports.models import ModelReference, ModelRegistry

_ALL_DECISIONS = 5_000


def roll_back(
    registry: ModelRegistry,
    clock: Clock,
    kind: str,
    *,
    by: str,
    reason: str,
    evidence: Mapping[str, float] | None = None,
) -> PromotionDecision:
    """Let the champion before this one serve again, and write down who did it and why.

    Who served before is read from the decisions. The one that is rolled back keeps its
    place among the versions and loses the alias.

    Raises:
        InvalidInput: no reason, or nobody's name.
        NotFound: nothing of `kind` serves, or nothing served before it.
        StoreUnavailable: try again later.
    """
    require_words(by, reason)
    champion = registry.champion(kind)
    if champion is None:
        raise NotFound(f"no {kind} version serves: there is nothing to roll back")
    before = _served_before(champion.version, registry.decisions(kind, _ALL_DECISIONS))
    there = {one.version for one in registry.versions(kind)}
    left = [version for version in before if version in there]
    if not left:
        raise NotFound(
            f"nothing served before {kind} version {champion.version}: promote another version, "
            f"as in finsight models promote {kind} VERSION"
        )
    decision = PromotionDecision(
        kind=kind,
        verdict=Verdict.ROLLED_BACK,
        version=left[-1],
        before=champion.version,
        by=by,
        reason=reason,
        decided_at=clock.now(),
        evidence=dict(evidence or {}),
    )
    carry_out(registry, decision)
    return decision


def appoint(
    registry: ModelRegistry,
    clock: Clock,
    kind: str,
    version: str,
    *,
    by: str,
    reason: str,
    evidence: Mapping[str, float] | None = None,
) -> PromotionDecision:
    """Let `version` serve without a comparison, and write down who wanted it and why.

    Raises:
        InvalidInput: no reason, or nobody's name.
        NotFound: there is no such version.
        StoreUnavailable: try again later.
    """
    require_words(by, reason)
    version_of(registry, kind, version)
    champion = registry.champion(kind)
    decision = PromotionDecision(
        kind=kind,
        verdict=Verdict.FORCED,
        version=version,
        before=champion.version if champion else None,
        by=by,
        reason=reason,
        decided_at=clock.now(),
        evidence=dict(evidence or {}),
    )
    carry_out(registry, decision)
    return decision


def carry_out(registry: ModelRegistry, decision: PromotionDecision) -> None:
    """Write `decision` down, then do what it says. Raises: NotFound, StoreUnavailable.

    In this order a crash in between leaves a decision that had no effect, and never a
    change that nobody answers for.
    """
    registry.record(decision)
    if decision.verdict is Verdict.REFUSED:
        return
    registry.set_champion(decision.kind, decision.version)
    challenger = registry.holder(decision.kind, CHALLENGER)
    if challenger is not None and challenger.version == decision.version:
        registry.set_alias(decision.kind, CHALLENGER, None)


def version_of(registry: ModelRegistry, kind: str, version: str) -> ModelReference:
    """Return one version. Raises: NotFound (says which there are), StoreUnavailable."""
    found = registry.versions(kind)
    for one in found:
        if one.version == version:
            return one
    if not found:
        kinds = sorted({one.kind for one in registry.versions()})
        raise NotFound(
            f"no version of {kind} is registered; registered kinds: {', '.join(kinds) or 'none'}"
        )
    there = ", ".join(one.version for one in found[:10])
    raise NotFound(f"there is no version {version} of {kind}; the newest are {there}")


def require_words(by: str, reason: str) -> None:
    """Raises: InvalidInput (a decision without a name or a reason)."""
    if not by.strip():
        raise InvalidInput("say who decides: a person, or a part of the platform")
    if not reason.strip():
        raise InvalidInput("say why: a decision is kept with its reason")


def _served_before(version: str, decisions: Sequence[PromotionDecision]) -> list[str]:
    """Return who served before `version` and may again, the latest last.

    `decisions` are newest first. A version that was rolled back is not among them. One
    that came to serve without a decision stands behind all that were decided.
    """
    served: list[str] = []
    for decision in reversed(decisions):
        if decision.verdict is Verdict.REFUSED:
            continue
        if decision.before is not None and decision.before not in served[-1:]:
            served.append(decision.before)
        if decision.verdict is Verdict.ROLLED_BACK and decision.version in served:
            del served[_last(served, decision.version) + 1 :]
        else:
            served.append(decision.version)
    if version in served:
        del served[_last(served, version) :]
    return [one for one in served if one != version]


def _last(versions: Sequence[str], version: str) -> int:
    return len(versions) - 1 - list(reversed(versions)).index(version)
