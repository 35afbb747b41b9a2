"""Searches and their trials, as parent and child runs in MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finsight.adapters.models.mlflow_connection import MlflowConnection, mlflow_errors_translated
from finsight.adapters.models.mlflow_runs import log_pictures
from finsight.domain.forecaster_search import SearchPlan, TrialRecord, TrialState

_EXPERIMENT = "finsight-searches"
_PARENT = "mlflow.parentRunId"
_SEARCH, _TRIAL = "finsight.search", "finsight.trial"
_STATUS = {
    TrialState.FINISHED: "FINISHED",
    TrialState.STOPPED: "FINISHED",
    TrialState.FAILED: "FAILED",
}
_METRIC = "loss_to_naive"
"""The validation loss in naive's on the same windows."""


class MlflowExperiments:
    """Implements `ports.experiments.ExperimentLog`.

    A run is found again by its tags, not by anything kept here: a process that was
    killed between making a run and noting it leaves no second one.
    """

    def __init__(self, tracking_uri: str | None, folder: Path) -> None:
        self._mlflow = MlflowConnection(tracking_uri, folder)
        self._runs: dict[tuple[str, str], str] = {}
        self._told: dict[str, TrialRecord] = {}

    def search(self, plan: SearchPlan) -> str:
        with mlflow_errors_translated(f"the search {plan.name} was not logged"):
            mark = f"{plan.name} {plan.made_at.isoformat()}"
            run = self._run(_SEARCH, mark, f"search {plan.name}", {"timeframe": plan.timeframe})
            client = self._mlflow.open()
            client.update_run(run, status="RUNNING")
            if not client.get_run(run).data.params:
                for name, value in _search_params(plan).items():
                    client.log_param(run, name, value)
            return run

    def trial(self, search_run: str, record: TrialRecord) -> str:
        with mlflow_errors_translated(f"trial {record.number} was not logged"):
            client = self._mlflow.open()
            mark = f"{search_run}/{record.number}"
            family = record.recipe.family
            run = self._run(_TRIAL, mark, f"trial {record.number} {family}", {_PARENT: search_run})
            before = self._told.get(run)
            if before is None:
                for name, value in record.recipe.model_dump(mode="json").items():
                    client.log_param(run, name, value)
                known = {one.step for one in client.get_metric_history(run, _METRIC)}
            else:
                known = {one.step for one in before.losses}
            for one in record.losses:
                if one.step not in known and math.isfinite(one.loss):
                    client.log_metric(run, _METRIC, one.loss, step=one.step)
            if before is None or before.state is not record.state:
                client.set_tag(run, "state", str(record.state))
                if record.reason:
                    client.set_tag(run, "reason", record.reason)
                if record.state in _STATUS:
                    if math.isfinite(record.best):
                        client.log_metric(run, f"best_{_METRIC}", record.best)
                    client.set_terminated(run, _STATUS[record.state])
            self._told[run] = record
            return run

    def end(
        self,
        search_run: str,
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        pictures: Mapping[str, bytes],
        finished: bool = True,
    ) -> None:
        with mlflow_errors_translated("what came of the search was not logged"):
            client = self._mlflow.open()
            for name, number in metrics.items():
                if math.isfinite(number):
                    client.log_metric(search_run, name, number)
            for name, value in tags.items():
                client.set_tag(search_run, name, value)
            log_pictures(client, search_run, pictures)
            client.set_terminated(search_run, "FINISHED" if finished else "KILLED")

    def _run(self, tag: str, mark: str, name: str, tags: Mapping[str, str]) -> str:
        """Return the run with this mark; it is made where there is none."""
        if (tag, mark) in self._runs:
            return self._runs[tag, mark]
        client: Any = self._mlflow.open()
        experiment = self._mlflow.experiment(_EXPERIMENT)
        found = client.search_runs([experiment], f"tags.`{tag}` = '{mark}'", max_results=1)
        if found:
            run = str(found[0].info.run_id)
        else:
            made = client.create_run(experiment, tags={tag: mark, **tags}, run_name=name)
            run = str(made.info.run_id)
        self._runs[tag, mark] = run
        return run


def _search_params(plan: SearchPlan) -> dict[str, str]:
    listed = {
        "timeframe": str(plan.timeframe),
        "trials": str(plan.trials or "no limit"),
        "minutes": str(plan.minutes or "no limit"),
        "cpus_a_trial": f"{plan.cpus:g}",
        "seed": str(plan.seed),
        "candles_until": plan.until.isoformat(),
        "data_fingerprint": plan.fingerprint,
    }
    for family, parameters in plan.space.parameters.items():
        for name, values in parameters.items():
            listed[f"{family}.{name}"] = str(values)
    return listed
