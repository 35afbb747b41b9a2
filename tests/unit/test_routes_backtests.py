"""`/v1/backtests`: begun as jobs, followed, and what was found paged and sorted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pyarrow.parquet as pq
import pytest

from finsight.backtesting import sweep
from finsight.commands import backtest_job
from finsight.domain.backtest import metadata_of
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.interval import Interval
from finsight.domain.job_requests import Backtest
from finsight.domain.timeframe import Timeframe
from finsight.domain.training_job import JobState
from finsight.recordings.server import RECORDINGS
from finsight.settings import Settings
from finsight.wiring import open_backtest_store, open_candle_store, open_training_jobs
from tests.unit.http_platform import NOW, HttpPlatform, running

BITCOIN = RECORDINGS / "candles/binance/BTC-USDT/1h.parquet"
SERIES = Series(exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.H1)
NAMED = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h"}
A_SWEEP = NAMED | {
    "backtest": "sweep",
    "strategy": "ma_cross",
    "grid": {"fast": {"low": 5, "high": 15, "step": 5}, "slow": [10, 20, 30]},
    "luck": {"shuffles": 3},
}


@pytest.fixture
async def platform(settings: Settings) -> AsyncIterator[HttpPlatform]:
    candles = CandleTable.from_arrow(pq.read_table(BITCOIN).slice(0, 500))
    first, last = candles.first_opened_at, candles.last_opened_at
    assert first is not None
    assert last is not None
    span = Interval(first, last + timedelta(hours=1))
    await open_candle_store(settings).upsert(SERIES, candles, [span])
    async with running(settings) as platform:
        yield platform


async def test_a_sweep_is_submitted_done_as_a_job_and_read(
    platform: HttpPlatform, settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    answer = await platform.client.post("/v1/backtests", json=A_SWEEP, params={"by": "ann"})
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    assert answer.json()["state"] == "queued"
    jobs = open_training_jobs(settings)
    request = (await jobs.get(job_id)).request
    assert isinstance(request, Backtest)
    # What Ray would run, run here: the very arguments of the job.
    monkeypatch.setenv("FINSIGHT_DATA_DIR", str(settings.data_dir))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert await asyncio.to_thread(backtest_job.main, request.arguments("")) == 0
    log = capsys.readouterr().out
    kept = json.loads(log.splitlines()[-1])["version"]
    await jobs.save_log(job_id, log)
    job = await jobs.get(job_id)
    ended = job.ended(JobState.SUCCEEDED, "", NOW).model_copy(update={"model_version": kept})
    assert await jobs.replace(job, ended)

    followed = (await platform.client.get(f"/v1/backtests/jobs/{job_id}")).json()
    assert followed["backtest_id"] == kept
    assert followed["progress"]["done"] == followed["progress"]["total"] == 7
    stream = await platform.client.get(f"/v1/backtests/jobs/{job_id}/stream")
    assert "event: progress" in stream.text
    assert kept in stream.text

    found = (await platform.client.get(f"/v1/backtests/{kept}")).json()
    assert found["request"]["costs"]["fee"] == 0.001  # Binance's taker fee.
    page = await platform.client.get(
        f"/v1/backtests/{kept}/tables/sets", params={"sort": "sharpe", "limit": 3}
    )
    rows = page.json()["rows"]
    candles = CandleTable.from_arrow(pq.read_table(BITCOIN).slice(0, 500))
    grid = {"fast": [5, 10, 15], "slow": [10, 20, 30]}
    expected = sweep(candles, "ma_cross", grid, costs={"fee": 0.001})
    best = sorted((s for s in expected.column("sharpe").to_pylist()), reverse=True)
    assert [row["sharpe"] for row in rows] == best[:3]
    assert page.json()["of"] == expected.num_rows == 7
    assert page.json()["next_offset"] == 3
    assert metadata_of(expected)["winner"]["parameters"]["fast"] == rows[0]["fast"]
    report = await platform.client.get(f"/v1/backtests/{kept}/report")
    assert report.headers["content-type"].startswith("text/html")
    assert "deflated Sharpe" in report.text
    listed = (await platform.client.get("/v1/backtests")).json()["backtests"]
    assert [one["id"] for one in listed] == [kept]
    assert (await platform.client.delete(f"/v1/backtests/{kept}")).status_code == 204
    assert (await platform.client.get(f"/v1/backtests/{kept}")).status_code == 404


async def test_a_job_that_was_cancelled_or_is_something_else(platform: HttpPlatform) -> None:
    job_id = (await platform.client.post("/v1/backtests", json=A_SWEEP)).json()["id"]
    answer = await platform.client.post(f"/v1/backtests/jobs/{job_id}/cancel")
    assert answer.json()["state"] == "cancelled"
    other = await platform.client.post("/v1/training", json={"kind": "train-forecaster"})
    answer = await platform.client.get(f"/v1/backtests/jobs/{other.json()['id']}")
    assert answer.status_code == 404
    assert "is no backtest" in answer.json()["detail"]


async def test_the_strategies_say_what_they_take(platform: HttpPlatform) -> None:
    listed = (await platform.client.get("/v1/backtests/strategies")).json()["strategies"]
    by_name = {one["name"]: one for one in listed}
    assert [p["name"] for p in by_name["ma_cross"]["parameters"]] == ["fast", "slow"]
    assert by_name["sentiment_momentum"]["reads_beside"] == "sentiment"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategy": "ma_cros"}, "did you mean 'ma_cross'"),
        ({"strategy": "my_module:mine"}, "pattern"),
        ({"grid": {}}, "needs a `grid`"),
        ({"grid": {"fast": {"low": 9, "high": 5}}}, "fast has -3 values"),
        ({"grid": {"fast": {"low": 1, "high": 9999}, "slow": {"low": 1, "high": 9999}}}, "sample"),
        ({"backtest": "walk-forward"}, "needs `folds`"),
        ({"costs": {"fee": -1}}, "greater than or equal to 0"),
        ({"symbol": "BTCUSDT"}, "pattern"),
        ({"hurry": True}, "hurry"),
    ],
)
async def test_a_wrong_request_is_said_before_a_job_is_made(
    platform: HttpPlatform, settings: Settings, change: dict[str, object], said: str
) -> None:
    answer = await platform.client.post("/v1/backtests", json=A_SWEEP | change)
    assert answer.status_code == 422
    assert said in answer.text
    assert await open_training_jobs(settings).recent((), 10) == []


async def test_a_job_whose_series_is_not_stored_says_so(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINSIGHT_DATA_DIR", str(settings.data_dir))
    request = Backtest(**NAMED)
    assert await asyncio.to_thread(backtest_job.main, request.arguments("")) == 1
    assert "no 1h candles of BTC/USDT" in capsys.readouterr().err
    assert await open_backtest_store(settings).recent(5) == []


async def test_a_sweep_that_could_not_be_kept_goes_on_from_its_blocks(
    platform: HttpPlatform,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FINSIGHT_DATA_DIR", str(settings.data_dir))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    arguments = Backtest(**A_SWEEP).arguments("")
    # Where the index should be there is a folder: the sweep is done, and can't be kept.
    in_the_way = settings.data_dir / "backtests" / "index.sqlite"
    in_the_way.mkdir(parents=True)
    assert await asyncio.to_thread(backtest_job.main, arguments) == 1
    assert "can't be used" in capsys.readouterr().err
    [block] = (settings.data_dir / "backtests" / "parts").glob("*/part-*.parquet")
    in_the_way.rmdir()
    # Had the block been done again, there would be another file of the same name.
    before = block.stat().st_mtime_ns
    seen: list[int] = []
    real = backtest_job.shutil.rmtree
    monkeypatch.setattr(
        backtest_job.shutil,
        "rmtree",
        lambda folder, **how: (seen.append(block.stat().st_mtime_ns), real(folder, **how)),
    )
    assert await asyncio.to_thread(backtest_job.main, arguments) == 0
    assert seen == [before]
    assert not block.exists()


async def test_pages_that_are_not_there(platform: HttpPlatform) -> None:
    for path in ("/v1/backtests/bt-none", "/v1/backtests/bt-none/tables/sets"):
        assert (await platform.client.get(path)).status_code == 404
