"""Models and the runs that made them, in MLflow."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finsight.adapters.models.mlflow_connection import (
    MlflowConnection,
    is_missing,
    keep_quiet,
    mlflow_errors_translated,
    mlflow_exception,
)
from finsight.adapters.models.mlflow_runs import (
    FILES,
    a_run,
    log_figures,
    log_model_files,
    log_pictures,
)
from finsight.adapters.models.training_environment import code_tags
from finsight.domain.errors import NotFound
from finsight.domain.promotion import CHAMPION, PromotionDecision
from finsight.ports.models import REGISTRATION_TAG, ModelReference

_EXPERIMENT = "finsight"
_DECISIONS = "finsight-decisions"
_DECISION_TAG = "decision"


class MlflowRegistry:
    """Implements `ports.models.ModelRegistry`.

    Without a `tracking_uri` it keeps `mlflow.sqlite` and the files in `folder`, for
    the processes of one machine. The database is made by the first `register`; until
    then every question has an empty answer. MLflow itself is imported on the first use
    that needs it.
    """

    def __init__(self, tracking_uri: str | None, folder: Path) -> None:
        self._mlflow = MlflowConnection(tracking_uri, folder)

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
        with mlflow_errors_translated(f"{kind} was not registered"):
            client = self._mlflow.open()
            experiment = self._mlflow.experiment(_EXPERIMENT)
            registration = tags.get(REGISTRATION_TAG)
            if registration is not None:
                before = self._registered_before(client, experiment, kind, registration)
                if before is not None:
                    return before
            # What a run that was kept for a while says of its code goes before the code here.
            said = code_tags() | dict(tags)
            with a_run(client, experiment, kind, said) as run:
                run_id = run.info.run_id
                log_figures(client, run_id, params, metrics, history or {})
                log_model_files(client, run_id, kind, tags, folder)
                log_pictures(client, run_id, pictures or {})
                self._ensure_kind(client, kind)
                version = client.create_model_version(
                    kind, f"{run.info.artifact_uri}/{FILES}", run_id, tags=said
                )
            return self._reference(client, version)

    def champion(self, kind: str) -> ModelReference | None:
        """As the port. After the first call a few milliseconds: it may be asked often."""
        return self.holder(kind, CHAMPION)

    def set_champion(self, kind: str, version: str) -> None:
        self.set_alias(kind, CHAMPION, version)

    def holder(self, kind: str, alias: str) -> ModelReference | None:
        if self._mlflow.is_empty:
            return None
        with mlflow_errors_translated(f"the {alias} of {kind} is unknown"):
            client = self._mlflow.open()
            try:
                version = client.get_model_version_by_alias(kind, alias)
            except mlflow_exception() as exc:
                if is_missing(exc):
                    return None
                raise
            return self._reference(client, version)

    def set_alias(self, kind: str, alias: str, version: str | None) -> None:
        if version is None:
            self._take_away(kind, alias)
            return
        if self._mlflow.is_empty:
            raise NotFound(f"there is no version {version} of {kind}: no model is registered")
        with mlflow_errors_translated(f"the {alias} of {kind} was not changed"):
            client = self._mlflow.open()
            try:
                client.get_model_version(kind, version)
            except mlflow_exception() as exc:
                if is_missing(exc) or not version.isdecimal():
                    raise NotFound(f"there is no version {version} of {kind}") from exc
                raise
            client.set_registered_model_alias(kind, alias, version)

    def _take_away(self, kind: str, alias: str) -> None:
        if self.holder(kind, alias) is None:
            return
        with mlflow_errors_translated(f"the {alias} of {kind} was not changed"):
            self._mlflow.open().delete_registered_model_alias(kind, alias)

    def record(self, decision: PromotionDecision) -> None:
        """As the port: a run of its own, in an experiment that holds nothing else."""
        with mlflow_errors_translated(f"the decision on {decision.kind} was not kept"):
            client = self._mlflow.open()
            run = client.create_run(
                self._mlflow.experiment(_DECISIONS),
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
        if self._mlflow.is_empty:
            return []
        with mlflow_errors_translated("the decisions can't be read"):
            client = self._mlflow.open()
            runs = client.search_runs(
                [self._mlflow.experiment(_DECISIONS)],
                f"tags.kind = '{kind}'" if kind else "",
                order_by=["attributes.start_time DESC"],
                max_results=limit,
            )
        kept = [PromotionDecision.model_validate_json(run.data.tags[_DECISION_TAG]) for run in runs]
        return sorted(kept, key=lambda decision: decision.decided_at, reverse=True)

    def versions(self, kind: str | None = None) -> list[ModelReference]:
        if self._mlflow.is_empty:
            return []
        with mlflow_errors_translated("the models can't be listed"):
            client = self._mlflow.open()
            found, page = [], None
            while page != "":
                some = client.search_model_versions(
                    f"name = '{kind}'" if kind else None, page_token=page
                )
                found += some
                page = some.token or ""
            references = [self._reference(client, version) for version in found]
        return sorted(references, key=lambda r: (r.created_at, int(r.version)), reverse=True)

    def params(self, reference: ModelReference) -> Mapping[str, str]:
        missing = f"there is no version {reference.version} of {reference.kind}"
        if self._mlflow.is_empty:
            raise NotFound(missing)
        with mlflow_errors_translated(f"{reference.kind} {reference.version} can't be read"):
            client = self._mlflow.open()
            try:
                version = client.get_model_version(reference.kind, reference.version)
            except mlflow_exception() as exc:
                if is_missing(exc):
                    raise NotFound(missing) from exc
                raise
            return dict(client.get_run(version.run_id).data.params)

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
        with mlflow_errors_translated(f"{reference.kind} {reference.version} was not fetched"):
            target.parent.mkdir(parents=True, exist_ok=True)
            keep_quiet()
            from mlflow.artifacts import download_artifacts

            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as scratch:
                source = download_artifacts(
                    reference.location, dst_path=scratch, tracking_uri=self._mlflow.uri
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

    def _registered_before(
        self, client: Any, experiment: str, kind: str, registration: str
    ) -> ModelReference | None:
        """Return the version that this registration made, and end its runs that made none."""
        asked = f"tags.{REGISTRATION_TAG} = '{registration}'"
        for version in client.search_model_versions(f"name = '{kind}' and {asked}"):
            return self._reference(client, version)
        for run in client.search_runs([experiment], asked):
            if run.info.status == "RUNNING":
                client.set_terminated(run.info.run_id, "KILLED")
        return None

    def _ensure_kind(self, client: Any, kind: str) -> None:
        try:
            client.create_registered_model(kind)
        except mlflow_exception() as exc:
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
