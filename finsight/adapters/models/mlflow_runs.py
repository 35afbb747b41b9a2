"""A training run as MLflow keeps it: parameters, metrics by step, pictures, files."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finsight.adapters.models.mlflow_connection import mlflow_exception
from finsight.adapters.models.model_signatures import write_mlmodel
from finsight.adapters.models.training_environment import requirements

FILES = "model"
_PARAMS_AT_ONCE, _METRICS_AT_ONCE = 100, 1000
_log = logging.getLogger(__name__)


@contextmanager
def a_run(client: Any, experiment: str, kind: str, tags: Mapping[str, str]) -> Iterator[Any]:
    """Begin a run, and end it as finished, or as failed when what it holds raises."""
    shown = {"mlflow.source.git.commit": tags["git_commit"]} if "git_commit" in tags else {}
    run = client.create_run(experiment, tags={**tags, **shown}, run_name=kind)
    try:
        yield run
    except BaseException:
        try:
            client.set_terminated(run.info.run_id, "FAILED")
        except (OSError, mlflow_exception()) as exc:
            _log.warning("run %s stays open in MLflow: %s", run.info.run_id, exc)
        raise
    client.set_terminated(run.info.run_id)


def log_figures(
    client: Any,
    run_id: str,
    params: Mapping[str, str],
    metrics: Mapping[str, float],
    history: Mapping[str, Sequence[float]],
) -> None:
    """Log them in as few requests as MLflow takes them in."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    logged = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(logged), _PARAMS_AT_ONCE):
        client.log_batch(run_id, params=logged[start : start + _PARAMS_AT_ONCE])
    measured = [Metric(name, float(value), now, 0) for name, value in metrics.items()]
    measured += [
        Metric(name, float(value), now, step)
        for name, values in history.items()
        for step, value in enumerate(values, start=1)
    ]
    for start in range(0, len(measured), _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=measured[start : start + _METRICS_AT_ONCE])


def log_model_files(
    client: Any, run_id: str, kind: str, tags: Mapping[str, str], folder: Path
) -> None:
    """Log the model's files, its signature, and the packages it was made with."""
    client.log_artifacts(run_id, str(folder), FILES)
    with tempfile.TemporaryDirectory() as scratch:
        write_mlmodel(kind, tags, run_id, Path(scratch))
        if not (folder / "requirements.txt").is_file():
            (Path(scratch) / "requirements.txt").write_text(requirements())
        client.log_artifacts(run_id, scratch, FILES)


def log_pictures(client: Any, run_id: str, pictures: Mapping[str, bytes]) -> None:
    """Log PNG files by name."""
    if not pictures:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, png in pictures.items():
            (Path(folder) / name).write_bytes(png)
        client.log_artifacts(run_id, folder, "pictures")
