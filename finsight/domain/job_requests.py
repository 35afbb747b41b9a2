"""What can be asked of a training job: its kind, and the options each kind takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from finsight.domain.asked_backtest import AskedBacktest
from finsight.domain.errors import InvalidInput
from finsight.domain.forecaster_recipe import Family, Loss, Target
from finsight.domain.job_options import (
    DataFile,
    Files,
    JobKind,
    Labels,
    ModelName,
    Request,
    Version,
    nearest_of,
)
from finsight.domain.timeframe import Timeframe

_PROMOTE = Field(
    default=False,
    description="afterwards compare it with the champion, and let it serve if it is better",
)
_CHAMPION = Field(default=False, description="let it serve at once, whatever it is worth")


def _refuse_both(champion: bool, promote: bool) -> None:
    if champion and promote:
        raise ValueError("champion lets it serve at once, promote asks first: choose one")


class TrainSentiment(Request):
    """Fine-tune a sentiment model on labelled texts."""

    FILES: ClassVar[tuple[str, ...]] = (
        "files",
        "valid",
        "test",
        "earlier",
        "unlabelled",
        "promote_on",
    )
    NOT_PASSED: ClassVar[tuple[str, ...]] = ("kind", "promote", "promote_on")

    kind: Literal[JobKind.TRAIN_SENTIMENT] = JobKind.TRAIN_SENTIMENT
    files: Files
    valid: tuple[DataFile, ...] = ()
    test: tuple[DataFile, ...] = ()
    earlier: tuple[DataFile, ...] = ()
    unlabelled: tuple[DataFile, ...] = ()
    valid_share: float | None = Field(default=None, gt=0, lt=1)
    test_share: float | None = Field(default=None, ge=0, lt=1)
    labels: Labels | None = None
    base: ModelName | None = None
    lora: bool = False
    rank: int | None = Field(default=None, ge=1, le=256)
    epochs: int | None = Field(default=None, ge=1, le=200)
    batch: int | None = Field(default=None, ge=1, le=4096)
    accumulate: int | None = Field(default=None, ge=1, le=1024)
    learning_rate: float | None = Field(default=None, gt=0, lt=1)
    r_drop: float | None = Field(default=None, ge=0, le=100)
    adversarial: float | None = Field(default=None, ge=0, le=100)
    soup: int | None = Field(default=None, ge=1, le=20)
    teachers: int | None = Field(default=None, ge=2, le=20)
    keep_last: bool = False
    leave_figures: bool = Field(
        default=False, description="don't mark which of two figures that a text compares is higher"
    )
    workers: int = Field(default=1, ge=1, le=256)
    threads: int | None = Field(default=None, ge=1, le=256)
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    champion: bool = _CHAMPION
    promote: bool = _PROMOTE
    promote_on: tuple[DataFile, ...] = Field(
        default=(), description="labelled texts, new to both, that `promote` compares on"
    )

    @model_validator(mode="after")
    def _one_way_to_serve(self) -> Self:
        _refuse_both(self.champion, self.promote)
        if self.promote and not self.promote_on:
            raise ValueError("promote needs promote_on: labelled texts that neither model has seen")
        return self

    @property
    def cpus_needed(self) -> float:
        return float(self.workers)


class TrainForecaster(Request):
    """Train one forecaster over every stored series of a timeframe."""

    kind: Literal[JobKind.TRAIN_FORECASTER] = JobKind.TRAIN_FORECASTER
    timeframe: Timeframe = Timeframe.H1
    family: Family | None = None
    target: Target | None = None
    loss: Loss | None = None
    exogenous: bool = False
    instance_norm: bool = False
    horizon: int | None = Field(default=None, ge=1, le=720)
    input_size: int | None = Field(default=None, ge=8, le=100_000)
    steps: int | None = Field(default=None, ge=1, le=1_000_000)
    check_every: int | None = Field(default=None, ge=1)
    patience: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1, le=1_000_000)
    patch_length: int | None = Field(default=None, ge=1)
    stride: int | None = Field(default=None, ge=1)
    hidden_size: int | None = Field(default=None, ge=4, le=16_384)
    layers: int | None = Field(default=None, ge=1, le=100)
    heads: int | None = Field(default=None, ge=1, le=1_000)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    learning_rate: float | None = Field(default=None, gt=0, lt=1)
    held_out_share: float | None = Field(default=None, gt=0, lt=0.9)
    threads: int | None = Field(default=None, ge=1, le=256)
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    champion: bool = _CHAMPION
    promote: bool = _PROMOTE

    @model_validator(mode="after")
    def _one_way_to_serve(self) -> Self:
        _refuse_both(self.champion, self.promote)
        return self


class TuneForecaster(Request):
    """Search the forecaster's recipe. Tried again, a search goes on where it was."""

    kind: Literal[JobKind.TUNE_FORECASTER] = JobKind.TUNE_FORECASTER
    timeframe: Timeframe = Timeframe.H1
    families: str | None = Field(
        default=None, pattern=r"^[a-z]+(,[a-z]+)*$", examples=["patchtst,nhits"]
    )
    trials: int | None = Field(default=None, ge=1, le=10_000)
    minutes: float | None = Field(default=None, gt=0, le=10_000)
    cpus: float = Field(default=1.0, gt=0, le=256, description="that one trial takes")
    steps: int | None = Field(default=None, ge=1, le=1_000_000)
    check_every: int | None = Field(default=None, ge=1)
    exogenous: bool = False
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    promote: bool = _PROMOTE

    @property
    def cpus_needed(self) -> float:
        return self.cpus


class EvaluateSentiment(Request):
    """Judge a sentiment model on labelled texts."""

    FILES: ClassVar[tuple[str, ...]] = ("files", "fit_on")

    kind: Literal[JobKind.EVALUATE_SENTIMENT] = JobKind.EVALUATE_SENTIMENT
    files: Files
    labels: Labels | None = None
    model: ModelName | None = None
    version: Version | None = None
    fit_on: tuple[DataFile, ...] = Field(default=(), description="texts to calibrate on")
    accuracy: float | None = Field(
        default=None, gt=0, lt=1, description="find the threshold that reaches it"
    )


class EvaluateForecaster(Request):
    """Judge a forecaster on stored candles, walking forward."""

    kind: Literal[JobKind.EVALUATE_FORECASTER] = JobKind.EVALUATE_FORECASTER
    timeframe: Timeframe = Timeframe.H1
    version: Version | None = None
    horizon: int | None = Field(default=None, ge=1, le=720)
    every: int | None = Field(default=None, ge=1, description="candles between origins")
    refit_every: int | None = Field(default=None, ge=1)


class Promote(Request):
    """Compare a registered version with the champion, and let it serve if it is better."""

    FILES: ClassVar[tuple[str, ...]] = ("texts",)

    kind: Literal[JobKind.PROMOTE] = JobKind.PROMOTE
    model: str = Field(pattern=r"^[a-z][a-z0-9-]{0,60}$", examples=["forecaster-1h"])
    version: Version
    texts: tuple[DataFile, ...] = Field(
        default=(), description="for sentiment: labelled texts that neither has seen"
    )
    by: str = Field(default="a job", pattern=r"^[\w][\w .@-]{0,80}$")


class Backtest(Request, AskedBacktest):
    """Test a strategy that comes with FinSight on stored candles."""

    kind: Literal[JobKind.BACKTEST] = JobKind.BACKTEST

    def arguments(self, files_folder: str) -> list[str]:
        return [f"--request={self.model_dump_json(exclude={'kind'}, exclude_unset=True)}"]


def _known_kind(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    kind = given.get("kind")
    if kind is None:
        raise ValueError(f"which kind of job? known are {', '.join(JobKind)}")
    if kind not in list(JobKind):
        raise ValueError(
            f"there is no kind of job '{kind}'; {nearest_of(str(kind), list(JobKind))}"
        )
    return given


JobRequest = Annotated[
    TrainSentiment
    | TrainForecaster
    | TuneForecaster
    | EvaluateSentiment
    | EvaluateForecaster
    | Promote
    | Backtest,
    Field(discriminator="kind"),
    BeforeValidator(_known_kind),
]
_ANY_REQUEST: TypeAdapter[JobRequest] = TypeAdapter(JobRequest)


def promotion_after(request: JobRequest, model: str, version: str) -> Promote | None:
    """Return the request that `request` asks for once it has registered a version, or None."""
    if not isinstance(request, TrainSentiment | TrainForecaster | TuneForecaster):
        return None
    if not request.promote:
        return None
    texts = request.promote_on if isinstance(request, TrainSentiment) else ()
    return Promote(model=model, version=version, texts=texts, by="retraining")


def parse_job_request(document: Mapping[str, Any]) -> JobRequest:
    """Read a request. Raises: InvalidInput (says which option is wrong, and what is expected)."""
    try:
        return _ANY_REQUEST.validate_python(document)
    except ValidationError as exc:
        raise InvalidInput("; ".join(_said(error) for error in exc.errors())) from exc


def _said(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"] if part not in list(JobKind))
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def cpus_in_words(cpus: float) -> str:
    """'2 CPUs', '1 CPU', '1.1 CPUs'."""
    rounded = math.floor(cpus * 10 + 1e-9) / 10
    return f"{rounded:g} CPU{'' if rounded == 1 else 's'}"
