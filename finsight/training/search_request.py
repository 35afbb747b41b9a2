"""What is asked of a search, and what it ends with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finsight.domain.errors import InvalidInput
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe
from finsight.domain.forecaster_search import SearchPlan, TrialRecord, ranked
from finsight.domain.promotion import CHALLENGER
from finsight.domain.recipe_space import RecipeSpace
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ModelReference
from finsight.settings import Settings
from finsight.wiring import default_recipe

USUAL_TRIALS = 20


@dataclass(frozen=True)
class SearchRequest:
    """What is asked for; `resume` names a search that is to go on, and the rest is as it was.

    `values` narrow the space: `patch_length=8,16`, `learning_rate=1e-4..1e-2`.
    """

    timeframe: Timeframe = Timeframe.H1
    families: tuple[str, ...] = ("patchtst",)
    values: tuple[str, ...] = ()
    trials: int | None = None
    minutes: float | None = None
    cpus: float = 1.0
    steps: int | None = None
    check_every: int | None = None
    exogenous: bool = False
    seed: int = 1
    name: str | None = None
    resume: str | None = None


@dataclass(frozen=True)
class SearchResult:
    """What a search ended with; `registered` is None while it isn't done, or found nothing."""

    plan: SearchPlan
    records: tuple[TrialRecord, ...]
    folder: Path
    seconds: float
    interrupted: bool
    winner: TrialRecord | None
    registered: ModelReference | None
    pictures: tuple[Path, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        registered = self.registered
        return {
            "search": self.plan.name,
            "folder": str(self.folder),
            "seconds": round(self.seconds, 1),
            "interrupted": self.interrupted,
            "trials": [
                {
                    "number": one.number,
                    "family": str(one.recipe.family),
                    "values": dict(one.values),
                    "state": str(one.state),
                    "step": one.step,
                    "loss_to_naive": one.best if one.losses else None,
                    "restarts": one.restarts,
                    "reason": one.reason,
                }
                for one in ranked(self.records)
            ],
            "winner": self.winner.number if self.winner else None,
            "registered": registered
            and {
                "kind": registered.kind,
                "version": registered.version,
                "alias": CHALLENGER,
                "held_out": {
                    name: value
                    for name, value in registered.metrics.items()
                    if name.startswith("held_out")
                },
            },
            "pictures": [str(path) for path in self.pictures],
            "notes": list(self.notes),
        }


def base_recipe(settings: Settings, request: SearchRequest, space: RecipeSpace) -> ForecasterRecipe:
    """What all trials have in common. Raises: InvalidInput."""
    usual = default_recipe(settings)
    steps = request.steps or usual.steps
    sighted = [family for family in space.families if family is not Family.PATCHTST]
    if request.exogenous and not sighted:
        raise InvalidInput(
            "PatchTST sees closes alone; with exogenous inputs let nhits or tide compete"
        )
    base = usual.model_copy(
        update={
            "family": sighted[0] if request.exogenous else space.families[0],
            "steps": steps,
            "check_every": min(request.check_every or max(1, steps // 9), steps),
            "exogenous": request.exogenous,
            "threads": max(1, int(request.cpus)),
            "seed": request.seed,
        }
    )
    space.check(base)
    return base


def search_plan(
    request: SearchRequest, space: RecipeSpace, base: ForecasterRecipe, now: datetime, seen: str
) -> SearchPlan:
    """Raises: InvalidInput."""
    try:
        return SearchPlan(
            name=request.name or f"{request.timeframe}-{now:%Y%m%d-%H%M%S}",
            timeframe=request.timeframe,
            space=space,
            base=base,
            trials=request.trials or (None if request.minutes else USUAL_TRIALS),
            minutes=request.minutes,
            cpus=request.cpus,
            seed=request.seed,
            until=now,
            fingerprint=seen,
            made_at=now,
        )
    except ValidationError as exc:
        raise InvalidInput(
            f"the search can't be called '{request.name}': expected letters, digits, dots, "
            "dashes and underscores, at most 64"
        ) from exc
