"""Runs that MLflow could not take, kept in a folder until they can be sent.

A run is a folder: `run.json`, the model's files in `model/`, pictures in `pictures/`. It is
written beside its place and moved there whole, and it is removed only once its version is
there: who is killed in between sends it again, and the registration's tag makes it one.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.adapters.models.training_environment import code_tags, requirements
from finsight.domain.errors import InvalidInput, RunKept, StoreUnavailable
from finsight.domain.promotion import CHALLENGER
from finsight.ports.models import REGISTRATION_TAG, ModelReference, ModelRegistry

_WRITING, _SENT = ".writing-", ".sent-"


@dataclass(frozen=True)
class UnsentRun:
    """A run that waits; `id` is also its registration."""

    id: str
    kind: str
    kept_at: datetime
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    history: Mapping[str, Sequence[float]]
    folder: Path


@dataclass(frozen=True)
class Sending:
    """What became of one run: the version that it made, or why it still waits."""

    id: str
    reference: ModelReference | None
    problem: str = ""


class UnsentRuns:
    """The runs kept in `folder`, which is made when the first one is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(
        self,
        registration: str,
        kind: str,
        model: Path,
        *,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        history: Mapping[str, Sequence[float]],
        pictures: Mapping[str, bytes],
    ) -> Path:
        """Keep a run with the code and the packages that made it. Raises: OSError."""
        place, writing = self._folder / registration, self._folder / f"{_WRITING}{registration}"
        if place.is_dir():
            return place
        shutil.rmtree(writing, ignore_errors=True)
        try:
            shutil.copytree(model, writing / "model")
            if not (writing / "model" / "requirements.txt").is_file():
                (writing / "model" / "requirements.txt").write_text(requirements())
            (writing / "pictures").mkdir()
            for name, png in pictures.items():
                (writing / "pictures" / name).write_bytes(png)
            document = {
                "kind": kind,
                "kept_at": datetime.now(UTC).isoformat(),
                "params": dict(params),
                "metrics": {name: float(value) for name, value in metrics.items()},
                "tags": code_tags() | dict(tags),
                "history": {name: [*map(float, values)] for name, values in history.items()},
            }
            (writing / "run.json").write_text(json.dumps(document, indent=1))
            writing.rename(place)
        except OSError:
            shutil.rmtree(writing, ignore_errors=True)
            raise
        return place

    def waiting(self) -> list[UnsentRun]:
        """Return the runs that wait, oldest first. Raises: StoreUnavailable (one is broken)."""
        return sorted(map(_read, self._places()), key=lambda run: run.kept_at)

    def send(self, registry: ModelRegistry) -> Iterator[Sending]:
        """Register every run that waits as the challenger, and yield what became of it.

        A challenger that was trained later than it keeps its place.

        What is wrong with one run keeps no other from being sent.

        Raises:
            InvalidInput: somebody is sending already.
            StoreUnavailable: the registry is down; what was not sent still waits.
        """
        if not self._folder.is_dir():
            return
        try:
            with FileLock(self._folder / "sending.lock", timeout=0):
                for sent in self._folder.glob(f"{_SENT}*"):
                    shutil.rmtree(sent)
                for place in self._places():
                    yield self._send(place, registry)
        except Timeout as exc:
            raise InvalidInput(
                f"the runs in {self._folder} are being sent already; wait until that has ended"
            ) from exc

    def _send(self, place: Path, registry: ModelRegistry) -> Sending:
        try:
            run = _read(place)
        except StoreUnavailable as exc:
            return Sending(place.name, None, str(exc))
        pictures = {one.name: one.read_bytes() for one in sorted(place.glob("pictures/*"))}
        reference = registry.register(
            run.kind,
            place / "model",
            params=run.params,
            metrics=run.metrics,
            tags={**run.tags, REGISTRATION_TAG: run.id},
            history=run.history,
            pictures=pictures,
        )
        # As its training would have done, unless a later one has the place by now.
        holder = registry.holder(run.kind, CHALLENGER)
        if holder is None or holder.created_at < run.kept_at:
            registry.set_alias(run.kind, CHALLENGER, reference.version)
        # Gone in one move: half a run is never found.
        sent = place.with_name(f"{_SENT}{run.id}")
        place.rename(sent)
        shutil.rmtree(sent)
        return Sending(run.id, reference)

    def _places(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        found = (path for path in self._folder.iterdir() if path.is_dir())
        return sorted(path for path in found if not path.name.startswith("."))


class KeepingRegistry(MlflowRegistry):
    """The registry, but a run that it can't take is kept and can be sent later."""

    def __init__(self, tracking_uri: str | None, folder: Path, unsent: UnsentRuns) -> None:
        super().__init__(tracking_uri, folder)
        self._unsent = unsent

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
        """As the port. Raises: RunKept (a StoreUnavailable: nothing is lost), StoreUnavailable."""
        # Named before the first try: where only the answer was lost, it is there already.
        registration = tags.get(REGISTRATION_TAG) or _new_registration(kind)
        tags = {**tags, REGISTRATION_TAG: registration}
        try:
            return super().register(
                kind,
                folder,
                params=params,
                metrics=metrics,
                tags=tags,
                history=history,
                pictures=pictures,
            )
        except StoreUnavailable as exc:
            try:
                place = self._unsent.keep(
                    registration,
                    kind,
                    folder,
                    params=params,
                    metrics=metrics,
                    tags=tags,
                    history=history or {},
                    pictures=pictures or {},
                )
            except OSError as full:
                raise StoreUnavailable(
                    f"{exc}; and the run can't be kept here either: {full}. Free space or mend the "
                    "registry, then train again"
                ) from exc
            raise RunKept(
                f"{exc}. The trained model is not lost: it is kept in {place}; once the registry "
                "answers, finsight models send registers it"
            ) from exc


def _new_registration(kind: str) -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{kind}-{secrets.token_hex(4)}"


def _read(place: Path) -> UnsentRun:
    """Raises: StoreUnavailable (says what is wrong with it)."""
    try:
        document = json.loads((place / "run.json").read_text())
        return UnsentRun(
            id=place.name,
            kind=document["kind"],
            kept_at=datetime.fromisoformat(document["kept_at"]),
            params=document["params"],
            metrics=document["metrics"],
            tags=document["tags"],
            history=document["history"],
            folder=place,
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise StoreUnavailable(
            f"the kept run {place} can't be read ({type(exc).__name__}: {exc}): mend its run.json, "
            "or remove the folder"
        ) from exc
