"""What can be asked of a training job: its kind, and the options each kind takes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from finsight.domain.asked_backtest import AskedBacktest
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe


class JobKind(StrEnum):
    """Everything that runs as a job."""

    TRAIN_SENTIMENT = "train-sentiment"
    TRAIN_FORECASTER = "train-forecaster"
    TUNE_FORECASTER = "tune-forecaster"
    EVALUATE_SENTIMENT = "evaluate-sentiment"
    EVALUATE_FORECASTER = "evaluate-forecaster"
    PROMOTE = "promote"
    BACKTEST = "backtest"


_FILE = re.compile(r"\w[\w. -]*(/\w[\w. -]*)*")


def _plain_path(name: str) -> str:
    # No root, no way up, no option in disguise.
    if _FILE.fullmatch(name) is None:
        raise ValueError(
            f"'{name}' is no name of a file below the data folder's training-data/, such as "
            "news.csv or tweets/2024.csv"
        )
    return name


DataFile = Annotated[
    str,
    Field(max_length=300, examples=["news.csv"]),
    AfterValidator(_plain_path),
]
# "compact", or a model of the hub.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")]
_Files = Annotated[tuple[DataFile, ...], Field(min_length=1, max_length=50)]
_Labels = Annotated[str, Field(pattern=r"^\w+(,\w+){1,2}$", examples=["negative,neutral,positive"])]


class _Request(BaseModel):
    """One kind's options, turned into the arguments of its command.

    A field is an option of the same name; `FILES` are those that name files; `NOT_PASSED`
    are for whoever looks after the job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    FILES: ClassVar[tuple[str, ...]] = ()
    NOT_PASSED: ClassVar[tuple[str, ...]] = ("kind", "promote")

    kind: JobKind

    @model_validator(mode="before")
    @classmethod
    def _only_known_options(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        for name in given:
            if name not in cls.model_fields:
                known = [field for field in cls.model_fields if field != "kind"]
                raise ValueError(f"there is no option '{name}'; {_nearest(str(name), known)}")
        return given

    @property
    def cpus(self) -> float:
        """How many logical CPUs of the cluster it needs at once, to begin at all."""
        return 1.0

    @property
    def file_names(self) -> list[str]:
        """The files it names, relative to the folder for training data."""
        return [name for field in self.FILES for name in getattr(self, field)]

    @property
    def asks_for_promotion(self) -> bool:
        """Whether what it registers shall be compared with the champion afterwards."""
        return bool(getattr(self, "promote", False))

    def arguments(self, files_folder: str) -> list[str]:
        """Return the command's arguments; files become paths below `files_folder`.

        A value is never an argument of its own, so that none can pass for an option.
        """
        given: list[str] = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in self.NOT_PASSED or value is None or value is False or value == ():
                continue
            option = "--" + name.replace("_", "-")
            if name in self.FILES:
                given += [] if name == "files" else [option]
                given += [f"{files_folder}/{file}" for file in value]
            elif value is True:
                given.append(option)
            else:
                given.append(f"{option}={value}")
        return given


class _Training(_Request):
    champion: bool = Field(default=False, description="let it serve at once, whatever it is worth")
    promote: bool = Field(
        default=False,
        description="afterwards compare it with the champion, and let it serve if it is better",
    )

    @model_validator(mode="after")
    def _one_way_to_serve(self) -> Self:
        if self.champion and self.promote:
            raise ValueError("champion lets it serve at once, promote asks first: choose one")
        return self


class TrainSentiment(_Training):
    """Fine-tune a sentiment model on labelled texts."""

    FILES: ClassVar[tuple[str, ...]] = ("files", "valid", "test")

    kind: Literal[JobKind.TRAIN_SENTIMENT] = JobKind.TRAIN_SENTIMENT
    files: _Files
    valid: tuple[DataFile, ...] = ()
    test: tuple[DataFile, ...] = ()
    test_share: float | None = Field(default=None, ge=0, lt=1)
    labels: _Labels | None = None
    base: ModelName | None = None
    lora: bool = False
    epochs: int | None = Field(default=None, ge=1, le=200)
    batch: int | None = Field(default=None, ge=1, le=4096)
    learning_rate: float | None = Field(default=None, gt=0, lt=1)
    workers: int = Field(default=1, ge=1, le=256)
    seed: int | None = Field(default=None, ge=0, lt=2**31)

    @property
    def cpus(self) -> float:
        return float(self.workers)


class TrainForecaster(_Training):
    """Train one forecaster over every stored series of a timeframe."""

    kind: Literal[JobKind.TRAIN_FORECASTER] = JobKind.TRAIN_FORECASTER
    timeframe: Timeframe = Timeframe.H1
    steps: int | None = Field(default=None, ge=1, le=1_000_000)


class TuneForecaster(_Training):
    """Search the forecaster's recipe."""

    kind: Literal[JobKind.TUNE_FORECASTER] = JobKind.TUNE_FORECASTER
    timeframe: Timeframe = Timeframe.H1
    trials: int | None = Field(default=None, ge=1, le=10_000)


class EvaluateSentiment(_Request):
    """Judge the sentiment model on labelled texts."""

    FILES: ClassVar[tuple[str, ...]] = ("files",)

    kind: Literal[JobKind.EVALUATE_SENTIMENT] = JobKind.EVALUATE_SENTIMENT
    files: _Files
    labels: _Labels | None = None
    model: ModelName | None = None


class EvaluateForecaster(_Request):
    """Judge the forecaster on stored candles, walking forward."""

    kind: Literal[JobKind.EVALUATE_FORECASTER] = JobKind.EVALUATE_FORECASTER
    timeframe: Timeframe = Timeframe.H1


class Promote(_Request):
    """Compare a registered version with the champion, and let it serve if it is better."""

    kind: Literal[JobKind.PROMOTE] = JobKind.PROMOTE
    model: str = Field(pattern=r"^[a-z][a-z0-9-]{0,60}$", examples=["forecaster-1h"])
    version: str = Field(pattern=r"^[A-Za-z0-9][\w.-]{0,40}$", examples=["3"])
    by: str = Field(default="retraining", pattern=r"^[\w][\w .@-]{0,80}$")


class Backtest(_Request, AskedBacktest):
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
        raise ValueError(f"there is no kind of job '{kind}'; {_nearest(str(kind), list(JobKind))}")
    return given


def _nearest(given: str, known: list[str]) -> str:
    close = get_close_matches(given, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


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
