"""How a version did beside those it would take the place of, on data that neither had seen."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.significance import Comparison

SIGNIFICANT_BELOW = 0.05
"""A gain counts where luck alone would bring one like it less often than this."""


class Measure(StrEnum):
    """What is lost. Scaled: divided by how far the price typically moves in one candle."""

    PINBALL = "mean scaled pinball loss"
    ERROR = "mean absolute scaled error"
    WRONG = "share of wrong answers"

    @property
    def short(self) -> str:
        """Its name among the figures of a decision: pinball, error, wrong."""
        return self.name.lower()


class BesideRival(BaseModel):
    """One version beside one rival, on the same cases: whoever lost less did better.

    `loss` and `rival_loss` are means over `cases` of what `measure` says; `p_value` is
    one-sided: how often a version that is no better would look as good by luck.
    """

    model_config = ConfigDict(frozen=True)

    rival: str = Field(examples=["version 2", "naive"])
    measure: Measure
    loss: float
    rival_loss: float
    p_value: float = Field(ge=0, le=1)
    cases: int = Field(ge=0)

    @classmethod
    def of(
        cls, rival: str, measure: Measure, loss: float, rival_loss: float, tested: Comparison
    ) -> Self:
        """From a test of "the version is better than its rival"."""
        return cls(
            rival=rival,
            measure=measure,
            loss=loss,
            rival_loss=rival_loss,
            p_value=tested.p_value,
            cases=tested.pairs,
        )

    @property
    def is_better(self) -> bool:
        """Better, and not by luck."""
        return self.loss < self.rival_loss and self.p_value < SIGNIFICANT_BELOW

    def in_words(self) -> str:
        figures = f"{self.measure} {self.loss:.4f} against {self.rival_loss:.4f} of {self.rival}"
        if self.is_better:
            return f"better than {self.rival}: {figures}, p = {self.p_value:.3g}"
        if self.loss >= self.rival_loss:
            return f"not better than {self.rival}: {figures}"
        return (
            f"perhaps lucky against {self.rival}: {figures}, p = {self.p_value:.3g}, "
            f"below {SIGNIFICANT_BELOW} is needed"
        )


class ModelComparison(BaseModel):
    """A version beside the champion of its kind, and a forecaster also beside naive.

    `champion` is None when nothing of the registry serves. `missing` says in words what the
    comparison lacks where there was too little data; then `rivals` is empty. `figures` hold
    what was counted: texts, origins, series, and what was left out.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    version: str
    champion: str | None
    data: str = Field(description="in words: what both were held against")
    rivals: tuple[BesideRival, ...] = ()
    missing: str | None = None
    figures: Mapping[str, float] = Field(default_factory=dict)

    @property
    def is_better(self) -> bool:
        """Better than every rival, and not by luck."""
        return bool(self.rivals) and all(rival.is_better for rival in self.rivals)

    @property
    def evidence(self) -> dict[str, float]:
        """Every figure by a name of its own, as a decision keeps them."""
        kept = dict(self.figures)
        for one in self.rivals:
            of, lost = one.rival.replace(" ", "_"), one.measure.short
            kept |= {lost: one.loss, f"{lost}_of_{of}": one.rival_loss}
            kept[f"{lost}_p_value_against_{of}"] = one.p_value
        return kept

    def in_words(self) -> str:
        """One sentence with every figure that the verdict rests on."""
        if self.missing is not None:
            return self.missing
        return "; ".join(rival.in_words() for rival in self.rivals) + f" ({self.data})"
