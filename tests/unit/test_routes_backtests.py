"""`/v1/backtests`: begun as jobs, followed, and what was found paged and sorted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

from finsight.backtesting import run_together, sweep, sweep_across
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
from tests.builders import a_walk
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

ETHEREUM = NAMED | {"symbol": "ETH/USDT"}
A_SHARED_RUN = {"backtest": "run", "grid": {}, "more_series": [ETHEREUM]}


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


@pytest.fixture
async def two_series(platform: HttpPlatform, settings: Settings) -> dict[str, CandleTable]:
    """Candles by the name of their series: bitcoin's, and a walk in the same hours."""
    bitcoin = CandleTable.from_arrow(pq.read_table(BITCOIN).slice(0, 500))
    first, last = bitcoin.first_opened_at, bitcoin.last_opened_at
    assert first is not None
    assert last is not None
    ethereum, walk = Series(**ETHEREUM), a_walk(500, start=first, seed=2)
    span = Interval(first, last + timedelta(hours=1))
    await open_candle_store(settings).upsert(ethereum, walk, [span])
    return {str(SERIES): bitcoin, str(ethereum): walk}


async def done(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    platform: HttpPlatform,
    asked: dict[str, object],
) -> dict[str, Any]:
    """Submit it, do what Ray would do, and read what was kept."""
    answer = await platform.client.post("/v1/backtests", json=asked)
    assert answer.status_code == 202, answer.text
    request = (await open_training_jobs(settings).get(answer.json()["id"])).request
    monkeypatch.setenv("FINSIGHT_DATA_DIR", str(settings.data_dir))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert await asyncio.to_thread(backtest_job.main, request.arguments("")) == 0
    kept = json.loads(capsys.readouterr().out.splitlines()[-1])["version"]
    found: dict[str, Any] = (await platform.client.get(f"/v1/backtests/{kept}")).json()
    return found


async def test_a_run_of_several_series_shares_one_account(
    two_series: dict[str, CandleTable], platform: HttpPlatform, settings: Settings, capsys,
    monkeypatch,
) -> None:  # fmt: skip
    asked = NAMED | {
        "more_series": [ETHEREUM],
        "weights": {"BTC": 0.6, "ETH/USDT": 0.3},
        "rebalance": 24,
        "direction": "both",
        "stops": {"stop_loss": 0.02},
        "parameters": {"fast": 5, "slow": 20},
    }
    found = await done(settings, monkeypatch, capsys, platform, asked)
    assert found["request"]["kind"] == "together"
    expected = run_together(
        two_series,
        "ma_cross",
        {"fast": 5, "slow": 20},
        weights=dict(zip(two_series, (0.6, 0.3), strict=True)),
        rebalance=24,
        direction="both",
        stops={"stop_loss": 0.02},
        costs={"fee": 0.001},
    )
    for name in ("total_return", "sharpe", "stopped", "orders"):
        assert found["figures"]["statistics"][name] == expected.statistics[name], name
    assert expected.statistics["stopped"] > 5
    report = await platform.client.get(f"/v1/backtests/{found['id']}/report")
    assert report.text.count("<svg") == 4


async def test_a_sweep_tries_every_series_under_every_cost(
    two_series: dict[str, CandleTable], platform: HttpPlatform, settings: Settings, capsys,
    monkeypatch,
) -> None:  # fmt: skip
    costs = [{"fee": 0.001}, {"fee": 0.002, "slippage": 0.0005}]
    asked = A_SWEEP | {"more_series": [ETHEREUM], "costs": costs}
    found = await done(settings, monkeypatch, capsys, platform, asked)
    assert list(found["saw"]) == list(two_series)
    answer = await platform.client.get(
        f"/v1/backtests/{found['id']}/tables/sets", params={"sort": "sharpe", "limit": 1}
    )
    grid = {"fast": [5, 10, 15], "slow": [10, 20, 30]}
    table = sweep_across(two_series, "ma_cross", grid, costs=costs)
    assert answer.json()["of"] == table.num_rows == 28
    [row] = answer.json()["rows"]
    best = max(table.to_pylist(), key=lambda one: one["sharpe"])
    for name in ("series", "fee", "slippage", "fast", "slow", "sharpe", "total_return"):
        assert row[name] == best[name], name


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
        ({"backtest": "together"}, "'run', 'sweep' or 'walk-forward'"),
        ({"more_series": [NAMED]}, "binance BTC/USDT 1h is named twice"),
        ({"more_series": [ETHEREUM | {"symbol": "ETH"}]}, "pattern"),
        ({"more_series": [ETHEREUM | {"exchange": "kraken"}]}, "kraken 0.004): say the fee"),
        ({"weights": {"BTC": 1}}, "for a run of several series"),
        (A_SHARED_RUN | {"rebalance": 0}, "greater than or equal to 1"),
        (A_SHARED_RUN | {"weights": {"USDT": 0.5}}, "is part of binance BTC/USDT 1h and"),
        (A_SHARED_RUN | {"weights": {"BTC": 0.7, "ETH": 0.7}}, "at most 1"),
        (A_SHARED_RUN | {"weights": {"BTC": 0.7}}, "missing: binance ETH/USDT 1h"),
        (A_SHARED_RUN | {"sizing": {"kind": "units", "amount": 1}}, "`weights` say how much"),
        (A_SHARED_RUN | {"costs": [{}, {}]}, "several `costs` are for a sweep"),
        ({"costs": []}, "1 to 20 of them"),
        (
            {
                "grid": {"slow": {"low": 1, "high": 9999}, "fast": {"low": 1, "high": 400}},
                "more_series": [ETHEREUM],
            },
            "7,999,200 parameter sets",
        ),
        (
            {
                "backtest": "walk-forward",
                "folds": {"train": 99, "test": 99},
                "more_series": [ETHEREUM],
            },
            "takes one series",
        ),
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
