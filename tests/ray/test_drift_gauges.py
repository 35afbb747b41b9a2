"""Drift as Ray's own metrics, read where Prometheus would read them."""

import asyncio
import re
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finsight.domain.candle_table import CandleTable
from finsight.settings import DriftSettings, Settings
from finsight.wiring import open_candle_store, open_model_registry
from tests.builders import BTC_HOURLY, HOUR, NOON, a_walk

SAMPLE = re.compile(
    r'^ray_finsight_drift_psi\{.*?Feature="(?P<feature>\w+)".*\} (?P<psi>\S+)$', re.I
)


def psi_by_feature(page: str) -> dict[str, float]:
    found = (SAMPLE.match(line) for line in page.splitlines())
    return {one["feature"]: float(one["psi"]) for one in found if one}


def a_walk_that_grows_wild(rows: int, calm: int) -> CandleTable:
    """A walk whose moves are five times as large after `calm` candles."""
    moves = np.random.default_rng(3).normal(0, 0.002, rows)
    moves[calm:] *= 5
    close = 100 * np.exp(np.cumsum(moves))
    ts = np.array(a_walk(rows).ts_ms)
    return CandleTable.from_columns(ts, close, close * 1.001, close * 0.999, close, close)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_psi_of_what_a_champion_sees_is_a_gauge(ray_cluster: Any, tmp_path: Path) -> None:
    from finsight.actors.retraining_watch import RetrainingWatch

    rows, calm = 1200, 900
    offset = (NOON + rows * HOUR - datetime.now(UTC)).total_seconds()
    settings = Settings(
        data_dir=tmp_path,
        clock_offset_s=offset,
        drift=DriftSettings(window_candles=250, look_every_s=1.0),
    )
    store = open_candle_store(settings)
    asyncio.run(store.upsert(BTC_HOURLY, a_walk_that_grows_wild(rows, calm)))
    model = tmp_path / "a-model"
    model.mkdir()
    (model / "weights").write_bytes(b"w")
    registry = open_model_registry(settings)
    until = (NOON + calm * HOUR).isoformat()
    made = registry.register(
        "forecaster-1h",
        model,
        params={},
        metrics={},
        tags={"trained_until": until, "trained_on": BTC_HOURLY.key},
    )
    registry.set_champion("forecaster-1h", made.version)

    watch = ray_cluster.remote(RetrainingWatch).options(num_cpus=0).remote(settings, {})
    ray_cluster.get(watch.ensure_running.remote())
    [node] = ray_cluster.nodes()
    address = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + 120
    shown: dict[str, float] = {}
    while "absolute_return" not in shown and time.monotonic() < deadline:
        time.sleep(1.0)
        with urllib.request.urlopen(address, timeout=10) as answer:
            shown = psi_by_feature(answer.read().decode())
    ray_cluster.kill(watch)
    assert shown["absolute_return"] > 0.25  # Beyond the usual threshold of "drifted".
