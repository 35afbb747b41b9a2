"""What FinSight needs of models, and of where they are kept.

Models compute: their methods are plain functions that a caller runs in a thread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np

from finsight.domain.candle import Series
from finsight.domain.forecast import Basis, Role
from finsight.domain.labelled_texts import LabelledText
from finsight.domain.model_comparison import ModelComparison
from finsight.domain.promotion import PromotionDecision
from finsight.domain.sentiment import SentimentScore
from finsight.domain.timeframe import Timeframe


class SentimentModel(Protocol):
    """Scores texts."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text costs, over all parts it is split in."""
        ...

    def score(self, texts: Sequence[str]) -> list[SentimentScore]:
        """Return one score a text, in the order given. Long texts are split, never cut."""
        ...


@dataclass(frozen=True)
class ForecastInput:
    """What a forecaster sees of one series: closes of closed candles, oldest first.

    `closes` has shape (history,), float64, quote currency; `horizon` is in candles.
    `known` holds `domain.known_features.FEATURES`, row for row with `closes`, for the
    models that see more than prices.
    """

    series: Series
    closes: np.ndarray
    horizon: int
    known: Mapping[str, np.ndarray] | None = None


class Forecaster(Protocol):
    """Forecasts closes."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def timeframe(self) -> Timeframe | None:
        """The timeframe it was trained on; None when any will do."""
        ...

    @property
    def trained_on(self) -> frozenset[str]:
        """The keys of the series it was trained on."""
        ...

    @property
    def min_history(self) -> int:
        """The fewest closes it can forecast from."""
        ...

    @property
    def max_horizon(self) -> int: ...

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        """Return, per input, prices of shape (horizon, len(QUANTILES)), rising along each row.

        Raises: InvalidInput (too short a history, too far a horizon).
        """
        ...


class TrainedForecaster(Forecaster, Protocol):
    """A forecaster fresh from its training.

    `metrics` compare it with naive on the last part of the candles, which it never
    saw; `trained_until` is when that part begins. `history` holds, check by check, the
    training's `loss` and `validation_loss`.
    """

    @property
    def metrics(self) -> Mapping[str, float]: ...

    @property
    def history(self) -> Mapping[str, Sequence[float]]: ...

    @property
    def params(self) -> Mapping[str, str]: ...

    @property
    def trained_until(self) -> datetime: ...

    def save(self, folder: Path) -> None:
        """Write its files into `folder`, which is made."""
        ...


TrainingProgress = Callable[[int, int, float], None]
"""Told (step, steps, loss) as a training goes on."""


class SentimentService(Protocol):
    """A sentiment model that many callers share, behind a queue."""

    async def score(self, texts: Sequence[str]) -> list[SentimentScore]:
        """Return one score a text, in the order given.

        Raises:
            InvalidInput: a text is blank or longer than `MAX_TEXT_CHARACTERS`.
            ModelUnavailable: no model is loaded.
        """
        ...


@dataclass(frozen=True)
class ServedForecast:
    """What a shared forecaster answered, and why it was the one to answer.

    `quantiles` and `naive` have shape (horizon, len(QUANTILES)), in quote currency.
    """

    quantiles: np.ndarray
    naive: np.ndarray
    model: str
    model_version: str
    basis: Basis
    reason: str
    role: Role = Role.CHAMPION


class ForecastService(Protocol):
    """The forecasters that many callers share, behind a queue."""

    async def forecast(self, request: ForecastInput) -> ServedForecast:
        """Answer with the best model there is for the series, else naive.

        Raises: InvalidInput (a history too short even for naive, a horizon below 1).
        """
        ...


REGISTRATION_TAG = "registration"
"""The tag that names one registration, however often it is tried."""


@dataclass(frozen=True)
class ModelReference:
    """A model version in the registry.

    `kind` is "sentiment" or "forecaster-1h" (one forecaster a timeframe);
    `version` is the registry's number; `location` is where its files are.
    """

    kind: str
    version: str
    location: str
    created_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


class ModelRegistry(Protocol):
    """Keeps models in versions; the one under the alias `champion` serves.

    Blocking: call it in a thread. All methods raise `StoreUnavailable`.
    """

    def register(
        self,
        kind: str,
        folder: Path,
        *,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        history: Mapping[str, Sequence[float]] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> ModelReference:
        """Store the files in `folder` as the next version of `kind`, with the run that made it.

        `history` holds metrics step by step, the first at step 1; `pictures` are PNG files
        by name. The tag `data_fingerprint` says what was learnt from. The code's version,
        the environment and, where the kind has one, the signature are added.

        With a tag `REGISTRATION_TAG` the same registration may be tried again: it makes one
        version, however often and wherever an earlier try was broken off.
        """
        ...

    def champion(self, kind: str) -> ModelReference | None:
        """Return the version under the alias `champion`, or None when there is none."""
        ...

    def set_champion(self, kind: str, version: str) -> None:
        """Move the alias. Raises: NotFound."""
        ...

    def holder(self, kind: str, alias: str) -> ModelReference | None:
        """Return the version under `alias` (`CHAMPION`, `CHALLENGER`), or None."""
        ...

    def set_alias(self, kind: str, alias: str, version: str | None) -> None:
        """Move `alias`, or take it away with None. Raises: NotFound."""
        ...

    def record(self, decision: PromotionDecision) -> None:
        """Keep a decision; none is ever changed."""
        ...

    def decisions(self, kind: str | None = None, limit: int = 50) -> list[PromotionDecision]:
        """Return decisions, newest first; of every kind when None."""
        ...

    def versions(self, kind: str | None = None) -> list[ModelReference]:
        """Return all versions, newest first; of every kind when None."""
        ...

    def params(self, reference: ModelReference) -> Mapping[str, str]:
        """Return the parameters of the run that made the version. Raises: NotFound."""
        ...

    def fetch(self, reference: ModelReference, folder: Path) -> Path:
        """Bring the version's files to disk under `folder`; return where they are."""
        ...


@dataclass(frozen=True)
class ModelReaders:
    """How versions are read that are not served yet. All block.

    Attributes:
        forecaster: reads a version of a forecaster.
        naive: the forecaster that every other one must beat.
        sentiment: reads a version of a sentiment model; for None the one that answers where
            the registry has no champion.
        texts_seen: the `text_mark` of each text that such a model learnt from, None where it
            keeps no list.

    They raise ModelUnavailable and StoreUnavailable.
    """

    forecaster: Callable[[ModelReference], Forecaster]
    naive: Forecaster
    sentiment: Callable[[ModelReference | None], SentimentModel]
    texts_seen: Callable[[ModelReference | None], frozenset[str] | None]


class PromotionService(Protocol):
    """Compares versions and decides who serves, wherever that is computed."""

    async def compare(
        self, kind: str, version: str, texts: Sequence[LabelledText] | None = None
    ) -> ModelComparison:
        """Hold a version against the champion of its kind, on data new to both.

        Raises:
            InvalidInput: it is the champion itself, or what new data is can't be known.
            NotFound: there is no such version.
            ModelUnavailable, StoreUnavailable: try again later.
        """
        ...

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
        """Decide whether a version shall serve, write it down, and do it. Raises: as `compare`."""
        ...
