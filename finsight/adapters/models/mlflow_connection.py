"""MLflow's client: opened when it is needed, kept quiet, its errors translated."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from finsight.domain.errors import FinSightError, StoreUnavailable

_FIRST_USE_S = 120.0


class MlflowConnection:
    """A server at `tracking_uri`, or without one `mlflow.sqlite` and files in `folder`.

    The database is made by the first `open`, under a lock (it takes MLflow seconds).
    """

    def __init__(self, tracking_uri: str | None, folder: Path) -> None:
        self._folder = folder
        self._database = None if tracking_uri else folder / "mlflow.sqlite"
        self.uri = tracking_uri or f"sqlite:///{self._database}"
        self._client: Any = None
        self._opening = threading.Lock()

    @property
    def is_empty(self) -> bool:
        """Whether there is no database yet; a server is asked."""
        return self._database is not None and not self._database.is_file()

    def open(self) -> Any:
        """Return the client, opened now or before."""
        with self._opening:
            if self._client is None:
                self._client = self._open_locked()
            return self._client

    def experiment(self, name: str) -> str:
        """Return the id of the experiment called `name`, made when it is not there."""
        client = self.open()
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = (self._folder / "artifacts").as_uri() if self._database else None
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except mlflow_exception():
            # Made by another process since we looked.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _open_locked(self) -> Any:
        keep_quiet()
        from mlflow import MlflowClient

        if self._database is None:
            return MlflowClient(self.uri, self.uri)
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
            return MlflowClient(self.uri, self.uri)


def keep_quiet() -> None:
    """Keep MLflow from sending telemetry, looking for git, and telling of its migrations.

    And from trying for minutes: a server that is down is said to be down within seconds.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    logging.getLogger("alembic").setLevel(logging.WARNING)


def import_mlflow() -> None:
    """Import MLflow's client, which takes seconds."""
    keep_quiet()
    import mlflow.artifacts
    import mlflow.tracking  # noqa: F401


def mlflow_exception() -> Any:
    from mlflow.exceptions import MlflowException

    return MlflowException


def is_missing(exc: Any) -> bool:
    """Whether MLflow says that there is no such thing."""
    if exc.error_code == "RESOURCE_DOES_NOT_EXIST":
        return True
    # A kind that exists without this alias is told as a bad parameter.
    return exc.error_code == "INVALID_PARAMETER_VALUE" and "alias" in str(exc)


@contextmanager
def mlflow_errors_translated(what_failed: str) -> Iterator[None]:
    """Raises: StoreUnavailable, for whatever MLflow, its database or its files ran into."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except FinSightError:
        raise
    except (OSError, Timeout, SQLAlchemyError, mlflow_exception(), *_bucket_errors()) as exc:
        raise StoreUnavailable(
            f"the model registry did not answer; {what_failed}: {_shortly(exc)}"
        ) from exc


def _bucket_errors() -> tuple[type[Exception], ...]:
    """What boto3 raises, where the client reaches the bucket itself and so has imported it."""
    if "botocore" not in sys.modules:
        return ()
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return Boto3Error, BotoCoreError, ClientError


def _shortly(exc: BaseException) -> str:
    """The first line: MLflow puts whole pages and tracebacks of its server behind it."""
    lines = str(exc).strip().splitlines()
    return lines[0][:300] if lines else type(exc).__name__
