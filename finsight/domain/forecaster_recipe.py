"""How a forecaster is trained: its family, its shape, and how long it learns."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Family(StrEnum):
    """The networks of neuralforecast that can be trained."""

    PATCHTST = "patchtst"
    NHITS = "nhits"
    TIDE = "tide"


class Target(StrEnum):
    """What a window holds: log returns from its last close on, or the values as they are."""

    LOG_RETURN = "log_return"
    VALUE = "value"


class Loss(StrEnum):
    """What is made small: the pinball loss over all quantiles, or an error of one path."""

    QUANTILE = "quantile"
    SQUARED = "squared"
    ABSOLUTE = "absolute"


class ForecasterRecipe(BaseModel):
    """Everything that decides what a training over given candles ends with.

    Units:
        input_size, horizon, patch_length, stride: candles.
        steps: gradient steps at most; every `check_every` the validation loss is taken,
            and after `patience` checks without a better one the training ends.
        instance_norm: each window is standardised by itself and the answer turned back
            (RevIN, Kim et al. 2022).
        exogenous: whether the sentiment trend and the volume are seen, as of when they
            were known; for NHITS and TiDE.
        feed_forward: width of PatchTST's inner layers; None: twice `hidden_size`.
        averaging: how much of the mean over past steps' weights is kept at each step (an
            exponential moving average judges and serves instead of the last); 0: none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family = Family.PATCHTST
    input_size: int = Field(default=168, ge=8)
    horizon: int = Field(default=24, ge=1, le=720)
    patch_length: int = Field(default=24, ge=1)
    stride: int = Field(default=24, ge=1)
    hidden_size: int = Field(default=32, ge=4)
    feed_forward: int | None = Field(default=None, ge=4)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    batch_size: int = Field(default=64, ge=1)
    averaging: float = Field(default=0.0, ge=0, lt=1)
    steps: int = Field(default=300, ge=1)
    check_every: int = Field(default=50, ge=1)
    patience: int | None = Field(default=None, ge=1)
    target: Target = Target.LOG_RETURN
    instance_norm: bool = False
    loss: Loss = Loss.QUANTILE
    exogenous: bool = False
    held_out_share: float = Field(default=0.15, gt=0, lt=0.9)
    seed: int = 1
    threads: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.patch_length > self.input_size:
            raise ValueError(
                f"a patch of {self.patch_length} candles doesn't fit in {self.input_size}"
            )
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of heads {self.heads}"
            )
        if self.exogenous and self.family is Family.PATCHTST:
            raise ValueError("PatchTST sees closes alone; for exogenous inputs take nhits or tide")
        return self
