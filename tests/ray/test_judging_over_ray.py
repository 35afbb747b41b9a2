"""Judging over a Ray cluster: the rows of one process, whoever is killed on the way."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe
from finsight.training.forecaster_evaluation import Question, evaluate_forecaster
from finsight.training.spread_judging import Block, Done, Judging, judged
from tests.builders import BTC_HOURLY
from tests.judged_forecasters import WALKS, DiesOnce, a_platform

pytestmark = pytest.mark.timeout(200)
ROOT = Path(__file__).parents[2]
BY_KEY = {series.key: walk for series, walk in WALKS.items()}


def blocks() -> tuple[Block, ...]:
    return tuple(Block(series, np.arange(60, 80) + 30 * at, 0) for series in WALKS for at in (0, 1))


def here(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("finsight.training.spread_judging")
    monkeypatch.setattr(module, "_has_ray", lambda: False)


def test_a_version_is_judged_and_refitted_with_the_same_rows_as_in_one_process(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = a_platform(tmp_path)
    asked = [
        Question(Timeframe.H1, every=20),
        Question(Timeframe.H1, every=20, refit_every=300),
    ]
    seen: list[Done] = []
    spread = [evaluate_forecaster(settings, one, seen.append) for one in asked]
    assert seen[-1].origins == seen[-1].of
    here(monkeypatch)
    for one, question in zip(spread, asked, strict=True):
        alone = evaluate_forecaster(settings, question)
        assert one.forecasts.equals(alone.forecasts)
        assert one.verdict == alone.verdict
    versions = spread[1].forecasts.column("model_version").unique().to_pylist()
    assert len(versions) == 2
    assert not spread[0].forecasts.column("median").equals(spread[1].forecasts.column("median"))


def test_a_job_joins_the_cluster_that_it_runs_on(ray_cluster: Any, tmp_path: Path) -> None:
    a_platform(tmp_path)
    address = ray_cluster.get_runtime_context().gcs_address
    where = ["--data-dir", str(tmp_path), "--every", "50"]
    job = subprocess.run(
        [sys.executable, "-m", "finsight.training.evaluate_forecaster", *where],
        env={**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 0, job.stderr
    assert "spread over 4 CPUs of Ray" in job.stdout
    assert json.loads(job.stdout.splitlines()[-1])["every"] == 50


def test_a_worker_that_is_killed_changes_no_figure(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "killed"
    dying = judged(Judging(BY_KEY, (DiesOnce(mark),), ("1",), blocks(), 6))
    assert int(mark.read_text()) != os.getpid()
    here(monkeypatch)
    assert dying.equals(judged(Judging(BY_KEY, (NaiveForecaster(),), ("1",), blocks(), 6)))


def test_what_a_worker_refuses_is_told_as_it_was_said(ray_cluster: Any) -> None:
    too_early = (Block(BTC_HOURLY, np.array([3]), 0),)
    with pytest.raises(InvalidInput, match="has 4 usable candles") as refused:
        judged(Judging(BY_KEY, (NaiveForecaster(),), ("1",), too_early, 6))
    assert "Traceback" not in str(refused.value)
