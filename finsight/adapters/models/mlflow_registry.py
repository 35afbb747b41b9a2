"""Models and the runs that made them, in MLflow."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from finsight.domain.errors import FinSightError, NotFound, StoreUnavailable
from finsight.domain.promotion import CHAMPION, PromotionDecision
from finsight.ports.models import ModelReference

_EXPERIMENT = "finsight"
_DECISIONS = "finsight-decisions"
_DECISION_TAG = "decision"
_FILES = "model"
_FIRST_USE_S = 120.0


class MlflowRegistry:
    """Implements `ports.models.ModelRegistry`.

    Without a `tracking_uri` it keeps `mlflow.sqlite` and the files in `folder`, for
    the processes of one machine. The database is made by the first `register`, under
    a lock (it takes MLflow seconds); until then every question has an empty answer.
    MLflow itself is imported on the first use that needs it.
    """

    def __init__(self, tracking_uri: str | None, folder: Path) -> None:
        self._folder = folder
        self._database = None if tracking_uri else folder / "mlflow.sqlite"
        self._uri = tracking_uri or f"sqlite:///{self._database}"
        self._client: Any = None
        self._opening = threading.Lock()

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
        with _mlflow_errors_translated(f"{kind} was not registered"):
            client = self._open()
            run = client.create_run(self._experiment(client), tags=dict(tags), run_name=kind)
            run_id = run.info.run_id
            try:
                for name, value in params.items():
                    client.log_param(run_id, name, value)
                for name, number in metrics.items():
                    client.log_metric(run_id, name, number)
                for name, values in (history or {}).items():
                    for step, measured in enumerate(values, start=1):
                        client.log_metric(run_id, name, measured, step=step)
                client.log_artifacts(run_id, str(folder), _FILES)
                _log_pictures(client, run_id, pictures or {})
                self._ensure_kind(client, kind)
                version = client.create_model_version(
                    kind, f"{run.info.artifact_uri}/{_FILES}", run_id, tags=dict(tags)
                )
            except BaseException:
                client.set_terminated(run_id, "FAILED")
                raise
            client.set_terminated(run_id)
            return self._reference(client, version)

    def champion(self, kind: str) -> ModelReference | None:
        """As the port. After the first call a few milliseconds: it may be asked often."""
        return self.holder(kind, CHAMPION)

    def set_champion(self, kind: str, version: str) -> None:
        self.set_alias(kind, CHAMPION, version)

    def holder(self, kind: str, alias: str) -> ModelReference | None:
        if self._is_empty():
            return None
        with _mlflow_errors_translated(f"the {alias} of {kind} is unknown"):
            client = self._open()
            try:
                version = client.get_model_version_by_alias(kind, alias)
            except _mlflow_exception() as exc:
                if _is_missing(exc):
                    return None
                raise
            return self._reference(client, version)

    def set_alias(self, kind: str, alias: str, version: str | None) -> None:
        if version is None:
            self._take_away(kind, alias)
            return
        if self._is_empty():
            raise NotFound(f"there is no version {version} of {kind}: no model is registered")
        with _mlflow_errors_translated(f"the {alias} of {kind} was not changed"):
            client = self._open()
            try:
                client.get_model_version(kind, version)
            except _mlflow_exception() as exc:
                if _is_missing(exc):
                    raise NotFound(f"there is no version {version} of {kind}") from exc
                raise
            client.set_registered_model_alias(kind, alias, version)

    def _take_away(self, kind: str, alias: str) -> None:
        if self.holder(kind, alias) is None:
            return
        with _mlflow_errors_translated(f"the {alias} of {kind} was not changed"):
            self._open().delete_registered_model_alias(kind, alias)

    def record(self, decision: PromotionDecision) -> None:
        """As the port: a run of its own, in an experiment that holds nothing else."""
        with _mlflow_errors_translated(f"the decision on {decision.kind} was not kept"):
            client = self._open()
            run = client.create_run(
                self._experiment(client, _DECISIONS),
                run_name=f"{decision.kind} {decision.verdict}",
                tags={
                    _DECISION_TAG: decision.model_dump_json(),
                    "kind": decision.kind,
                    "verdict": str(decision.verdict),
                    "by": decision.by,
                },
            )
            client.set_terminated(run.info.run_id)

    def decisions(self, kind: str | None = None, limit: int = 50) -> list[PromotionDecision]:
        if self._is_empty():
            return []
        with _mlflow_errors_translated("the decisions can't be read"):
            client = self._open()
            runs = client.search_runs(
                [self._experiment(client, _DECISIONS)],
                f"tags.kind = '{kind}'" if kind else "",
                order_by=["attributes.start_time DESC"],
                max_results=limit,
            )
        kept = [PromotionDecision.model_validate_json(run.data.tags[_DECISION_TAG]) for run in runs]
        return sorted(kept, key=lambda decision: decision.decided_at, reverse=True)

    def versions(self, kind: str | None = None) -> list[ModelReference]:
        if self._is_empty():
            return []
        with _mlflow_errors_translated("the models can't be listed"):
            client = self._open()
            found = client.search_model_versions(f"name = '{kind}'" if kind else None)
            references = [self._reference(client, version) for version in found]
        return sorted(references, key=lambda r: (r.created_at, int(r.version)), reverse=True)

    def fetch(self, reference: ModelReference, folder: Path) -> Path:
        """As the port. Files that are there are not fetched again.

        They are brought beside their place and moved there whole, so that whoever
        finds the folder finds all of it.
        """
        # Another registry's version 1 is another model: the address tells them apart.
        place = hashlib.sha256(reference.location.encode()).hexdigest()[:12]
        target = folder / reference.kind / f"{reference.version}-{place}"
        if target.is_dir():
            return target
        with _mlflow_errors_translated(f"{reference.kind} {reference.version} was not fetched"):
            target.parent.mkdir(parents=True, exist_ok=True)
            _quiet()
            from mlflow.artifacts import download_artifacts

            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as scratch:
                source = download_artifacts(
                    reference.location, dst_path=scratch, tracking_uri=self._uri
                )
                brought = Path(scratch) / "whole"
                shutil.copytree(source, brought)
                try:
                    brought.rename(target)
                except OSError:
                    # Another process was quicker; what it brought is the same.
                    if not target.is_dir():
                        raise
        return target

    def _is_empty(self) -> bool:
        return self._database is not None and not self._database.is_file()

    def _open(self) -> Any:
        with self._opening:
            if self._client is None:
                self._client = self._open_locked()
            return self._client

    def _open_locked(self) -> Any:
        _quiet()
        from mlflow import MlflowClient

        if self._database is None:
            return MlflowClient(self._uri, self._uri)
        self._folder.mkdir(parents=True, exist_ok=True)
        # Two processes that make MLflow's tables at once spoil them for each other. They are
        # made under another name: the database appears when it is ready.
        with FileLock(self._folder / "creating.lock", timeout=_FIRST_USE_S):
            if not self._database.exists():
                making = self._folder / "mlflow.creating.sqlite"
                making.unlink(missing_ok=True)
                first = f"sqlite:///{making}"
                MlflowClient(first, first).search_experiments(max_results=1)
                making.rename(self._database)
            return MlflowClient(self._uri, self._uri)

    def _experiment(self, client: Any, name: str = _EXPERIMENT) -> str:
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = (self._folder / "artifacts").as_uri() if self._database else None
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except _mlflow_exception():
            # Made by another process since we looked.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _ensure_kind(self, client: Any, kind: str) -> None:
        try:
            client.create_registered_model(kind)
        except _mlflow_exception() as exc:
            if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _reference(self, client: Any, version: Any) -> ModelReference:
        metrics = client.get_run(version.run_id).data.metrics if version.run_id else {}
        return ModelReference(
            kind=version.name,
            version=str(version.version),
            location=version.source,
            created_at=datetime.fromtimestamp(version.creation_timestamp / 1000, tz=UTC),
            tags=dict(version.tags),
            metrics=dict(metrics),
        )


def _log_pictures(client: Any, run_id: str, pictures: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, png in pictures.items():
            (Path(folder) / name).write_bytes(png)
        if pictures:
            client.log_artifacts(run_id, folder, "pictures")


def _quiet() -> None:
    """Keep MLflow from sending telemetry, looking for git, and telling of its migrations."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.getLogger("alembic").setLevel(logging.WARNING)


def import_mlflow() -> None:
    """Import MLflow's client, which takes seconds."""
    _quiet()
    import mlflow.artifacts
    import mlflow.tracking  # noqa: F401


def _mlflow_exception() -> Any:
    from mlflow.exceptions import MlflowException

    return MlflowException


def _is_missing(exc: Any) -> bool:
    if exc.error_code == "RESOURCE_DOES_NOT_EXIST":
        return True
    # A kind that exists without this alias is told as a bad parameter.
    return exc.error_code == "INVALID_PARAMETER_VALUE" and "alias" in str(exc)


@contextmanager
def _mlflow_errors_translated(what_failed: str) -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except FinSightError:
        raise
    except (OSError, Timeout, SQLAlchemyError, _mlflow_exception()) as exc:
        raise StoreUnavailable(f"the model registry did not answer; {what_failed}: {exc}") from exc
