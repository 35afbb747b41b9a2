"""Who serves: decided, written down with who and why, and undone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.labelled_texts import LabelledText
from finsight.domain.model_comparison import ModelComparison
from finsight.domain.promotion import CHALLENGER, PromotionDecision, Verdict
from finsight.ports.clock import Clock
from finsight.ports.market import CandleStore
from finsight.ports.models import ModelReaders, ModelReference, ModelRegistry
from finsight.ports.news import ArticleStore
from finsight.services import forecaster_comparison, sentiment_comparison
from finsight.services.forecaster_comparison import ForecasterComparison
from finsight.services.sentiment_comparison import SentimentComparison

MOST_WORDS = 1_000
_ALL_DECISIONS = 5_000


class Promotion:
    """Lets a version serve when it is measurably better than what serves, and only then."""

    def __init__(
        self,
        registry: ModelRegistry,
        candles: CandleStore,
        articles: ArticleStore,
        clock: Clock,
        readers: ModelReaders,
        input_candles: int,
    ) -> None:
        """`input_candles` is what serving looks back over."""
        self._registry = registry
        self._clock = clock
        self._forecasters = ForecasterComparison(candles, articles, clock, readers, input_candles)
        self._sentiment = SentimentComparison(readers)

    async def compare(
        self, kind: str, version: str, texts: Sequence[LabelledText] | None = None
    ) -> ModelComparison:
        """Hold a version against the champion of its kind, on data new to both.

        Sentiment models need `texts`, forecasters are held against the stored candles.

        Raises:
            InvalidInput: it is the champion itself, or what new data is can't be known.
            NotFound: there is no such version.
            ModelUnavailable, StoreUnavailable: try again later.
        """
        challenger, champion = await asyncio.to_thread(self._both, kind, version)
        return await self._compare(challenger, champion, texts)

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
        """Decide whether a version shall serve, write it down, and do it.

        It is refused unless it is better than the champion (and a forecaster than naive)
        by more than luck, or forced with a reason. A refusal is an answer, no error.

        Raises: as `compare`; InvalidInput also for a name or a reason that is missing.
        """
        require_words(by, reason if force else "measured")
        challenger, champion = await asyncio.to_thread(self._both, kind, version)
        compared: ModelComparison | None = None
        try:
            compared = await self._compare(challenger, champion, texts)
            found = compared.in_words()
        except InvalidInput as exc:
            if not force:
                raise
            found = f"not compared: {exc}"
        if compared is not None and compared.is_better:
            verdict = Verdict.PROMOTED
        else:
            verdict = Verdict.FORCED if force else Verdict.REFUSED
        decision = PromotionDecision(
            kind=kind,
            verdict=verdict,
            version=version,
            before=champion.version if champion is not None else None,
            by=by,
            reason=". ".join(filter(None, [reason.strip().rstrip("."), found])),
            decided_at=self._clock.now(),
            evidence=compared.evidence if compared is not None else {},
        )
        await asyncio.to_thread(carry_out, self._registry, decision)
        return decision

    def _both(self, kind: str, version: str) -> tuple[ModelReference, ModelReference | None]:
        challenger = version_of(self._registry, kind, version)
        champion = self._registry.champion(kind)
        if champion is not None and champion.version == version:
            raise InvalidInput(
                f"{kind} version {version} serves already: name another version to hold against it"
            )
        return challenger, champion

    async def _compare(
        self,
        challenger: ModelReference,
        champion: ModelReference | None,
        texts: Sequence[LabelledText] | None,
    ) -> ModelComparison:
        if challenger.kind.startswith(forecaster_comparison.KIND_PREFIX):
            if texts is not None:
                raise InvalidInput(
                    "forecasters are compared on the stored candles; leave the labelled texts out"
                )
            return await self._forecasters.compare(challenger, champion)
        if challenger.kind != sentiment_comparison.KIND:
            raise InvalidInput(
                f"nothing is known of how to compare two versions of {challenger.kind}"
            )
        if texts is None:
            raise InvalidInput(
                "sentiment models are compared on labelled texts that neither has seen: give "
                "them, as in --on FILE"
            )
        return await asyncio.to_thread(self._sentiment.compare, challenger, champion, texts)


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
    if len(reason) > MOST_WORDS or len(by) > MOST_WORDS:
        raise InvalidInput(f"a reason and a name have {MOST_WORDS} characters at most")


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
