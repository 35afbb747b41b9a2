"""What every kind of job's options have in common, and how they become arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


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
Files = Annotated[tuple[DataFile, ...], Field(min_length=1, max_length=50)]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]{0,40}$", examples=["3"])]
Labels = Annotated[str, Field(pattern=r"^\w+(,\w+){1,2}$", examples=["negative,neutral,positive"])]


class Request(BaseModel):
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
                raise ValueError(f"there is no option '{name}'; {nearest_of(str(name), known)}")
        return given

    @property
    def cpus_needed(self) -> float:
        """How many logical CPUs of the cluster it needs at once, to begin at all."""
        return 1.0

    @property
    def file_names(self) -> list[str]:
        """The files it names, relative to the folder for training data."""
        return [name for field in self.FILES for name in getattr(self, field)]

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


def nearest_of(given: str, known: list[str]) -> str:
    """Suggest what was meant, or say what there is."""
    close = get_close_matches(given, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
