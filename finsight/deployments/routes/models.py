"""Models: what the registry holds, who serves, and decisions about it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from finsight.deployments.http_errors import MEDIA_TYPE, Problem, problem_response
from finsight.deployments.http_ports import Ports
from finsight.domain.labelled_texts import LabelledText
from finsight.domain.model_comparison import ModelComparison
from finsight.domain.promotion import PromotionDecision, Verdict
from finsight.domain.sentiment import SentimentLabel
from finsight.services import model_listing
from finsight.services.model_listing import KIND_PATTERN, ModelCard, ModelDetails
from finsight.services.promotion import MOST_WORDS, roll_back

router = APIRouter(prefix="/models", tags=["models"])

MOST_TEXTS = 2_000
MOST_CHARACTERS = 10_000
_KIND_EXAMPLES = ["forecaster-1h", "sentiment"]

Kind = Annotated[str, Path(pattern=KIND_PATTERN, examples=_KIND_EXAMPLES)]
OptionalKind = Annotated[str | None, Query(pattern=KIND_PATTERN, examples=_KIND_EXAMPLES)]
Version = Annotated[str, Path(pattern=r"^[0-9]{1,9}$", examples=["3"])]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class JudgedText(_Body):
    """A text, and what somebody says it is for the price of what it speaks of."""

    text: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    label: SentimentLabel


class CompareBody(_Body):
    """What two versions are held against."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"texts": [{"text": "Bitcoin surges", "label": "positive"}]}}
    )

    texts: list[JudgedText] | None = Field(
        default=None,
        max_length=MOST_TEXTS,
        description="for sentiment models, which need them; forecasters are held against the "
        "stored candles",
    )

    @property
    def labelled(self) -> list[LabelledText] | None:
        if self.texts is None:
            return None
        return [
            LabelledText(one.text, one.label, "the request", row)
            for row, one in enumerate(self.texts, start=1)
        ]


class PromoteBody(CompareBody):
    """Who wants a version to serve, and why."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"by": "ada", "reason": "trained on the summer, too"}}
    )

    by: str = Field(min_length=1, max_length=100, description="who decides")
    reason: str = Field(default="", max_length=MOST_WORDS, description="needed to force")
    force: bool = Field(default=False, description="let it serve whatever the comparison says")


class RollBackBody(_Body):
    """Who wants the champion before to serve again, and why."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"by": "ada", "reason": "its forecasts jump at midnight"}}
    )

    by: str = Field(min_length=1, max_length=100)
    reason: str = Field(min_length=1, max_length=MOST_WORDS)


class ModelList(BaseModel):
    models: list[ModelCard]


class DecisionList(BaseModel):
    decisions: list[PromotionDecision]


class ComparisonAnswer(BaseModel):
    """How a version did beside the champion, and what that would mean."""

    is_better: bool = Field(description="better than every rival, and not by luck")
    words: str
    comparison: ModelComparison


class RefusedPromotion(Problem):
    """A version that is not measurably better: the decision, which is kept, has the figures."""

    decision: PromotionDecision


_REFUSED: dict[int | str, dict[str, Any]] = {
    409: {
        "model": RefusedPromotion,
        "content": {MEDIA_TYPE: {}},
        "description": "It is not measurably better than what serves; nothing was changed",
    }
}


@router.get("")
async def list_models(ports: Ports, kind: OptionalKind = None) -> ModelList:
    """Every version, newest first, with its aliases: the champion answers."""

    def found() -> list[ModelCard]:
        return model_listing.list_models(ports.registry.get(), kind)

    return ModelList(models=await asyncio.to_thread(found))


@router.get("/decisions")
async def list_decisions(
    ports: Ports,
    kind: OptionalKind = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> DecisionList:
    """Who was promoted, refused, forced or rolled back, by whom and why, newest first."""

    def found() -> list[PromotionDecision]:
        return ports.registry.get().decisions(kind, limit)

    return DecisionList(decisions=await asyncio.to_thread(found))


@router.get("/{kind}/{version}")
async def one_model(ports: Ports, kind: Kind, version: Version) -> ModelDetails:
    """One version: how it was made, its figures, and every decision on it."""

    def found() -> ModelDetails:
        return model_listing.show_model(ports.registry.get(), kind, version)

    return await asyncio.to_thread(found)


@router.post("/{kind}/{version}/compare")
async def compare_model(
    ports: Ports, kind: Kind, version: Version, body: CompareBody
) -> ComparisonAnswer:
    """Hold a version against the champion on data new to both. Takes up to a minute or so.

    Nothing is decided and nothing is written down.
    """
    comparison = await ports.promotion.compare(kind, version, texts=body.labelled)
    return ComparisonAnswer(
        is_better=comparison.is_better, words=comparison.in_words(), comparison=comparison
    )


@router.post("/{kind}/{version}/promote", response_model=PromotionDecision, responses=_REFUSED)
async def promote_model(
    ports: Ports, kind: Kind, version: Version, body: PromoteBody
) -> PromotionDecision | JSONResponse:
    """Let a version serve if it is measurably better; 409 with the figures where it is not.

    The decision is written down with who and why, also a refusal. Takes up to a minute or so.
    """
    decision = await ports.promotion.promote(
        kind, version, by=body.by, reason=body.reason, force=body.force, texts=body.labelled
    )
    if decision.verdict is not Verdict.REFUSED:
        return decision
    return problem_response(
        RefusedPromotion(
            type="urn:finsight:promotion-refused",
            title="Not measurably better",
            status=409,
            detail=decision.reason,
            instance=f"/v1/models/{kind}/{version}/promote",
            decision=decision,
        )
    )


@router.post("/{kind}/rollback")
async def roll_back_model(ports: Ports, kind: Kind, body: RollBackBody) -> PromotionDecision:
    """Let the champion before this one serve again, and write down who and why."""

    def rolled_back() -> PromotionDecision:
        return roll_back(ports.registry.get(), ports.clock, kind, by=body.by, reason=body.reason)

    return await asyncio.to_thread(rolled_back)
