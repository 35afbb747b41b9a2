"""Jobs, drift and rules over HTTP."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from finsight.domain.article import article_id
from finsight.domain.candle_table import CandleTable
from finsight.domain.sentiment import ArticleScore, SentimentScore
from finsight.domain.timeframe import to_ms
from finsight.domain.training_job import JobState
from finsight.settings import Settings
from finsight.wiring import open_model_registry, open_training_jobs
from tests.builders import BTC_HOURLY, HOUR, an_article
from tests.unit.http_platform import NOW, running

FORECASTER = {"kind": "train-forecaster", "timeframe": "1h", "steps": 5}


async def test_a_job_is_submitted_listed_read_cancelled_and_tried_again(settings: Settings) -> None:
    async with running(settings) as platform:
        answer = await platform.client.post("/v1/training?by=ann", json=FORECASTER)
        assert answer.status_code == 202
        job = answer.json()
        assert (job["state"], job["by"], job["request"]["steps"]) == ("queued", "ann", 5)
        listed = (await platform.client.get("/v1/training")).json()["jobs"]
        assert [one["id"] for one in listed] == [job["id"]]
        assert (await platform.client.get("/v1/training?state=failed")).json()["jobs"] == []
        refused = await platform.client.post(f"/v1/training/{job['id']}/retry")
        assert refused.status_code == 422
        cancelled = await platform.client.post(f"/v1/training/{job['id']}/cancel?by=bob")
        assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
        again = await platform.client.post(f"/v1/training/{job['id']}/cancel")
        assert again.status_code == 422
        assert "has ended already (cancelled)" in again.json()["detail"]
        assert (await platform.client.post(f"/v1/training/{job['id']}/retry")).status_code == 202
    # A gateway that was started again knows what the one before it knew.
    async with running(settings) as platform:
        found = (await platform.client.get(f"/v1/training/{job['id']}")).json()
        assert found["state"] == "queued"


async def test_a_log_is_paged_and_followed(settings: Settings) -> None:
    async with running(settings) as platform:
        job = (await platform.client.post("/v1/training", json=FORECASTER)).json()
        store = open_training_jobs(settings)
        await store.save_log(job["id"], "one\ntwo\nthree\n")
        path = f"/v1/training/{job['id']}/logs"
        part = (await platform.client.get(path, params={"tail": 2})).json()
        assert part == {"lines": ["two", "three"], "first": 1, "next": 3, "ended": False}
        part = (await platform.client.get(path, params={"after": 3})).json()
        assert (part["lines"], part["ended"]) == ([], False)
        kept = await store.get(job["id"])
        await store.replace(kept, kept.ended(JobState.FAILED, "", NOW))
        assert (await platform.client.get(path, params={"after": 3})).json()["ended"] is True


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "trian-forecaster"}, "did you mean train-forecaster?"),
        ({}, "which kind of job?"),
        ([], "a JSON object"),
        ({"kind": "train-forecaster", "steps": -1}, "greater than or equal to 1"),
        ({"kind": "train-forecaster", "shell": "rm"}, "no option 'shell'"),
        ({"kind": "train-sentiment", "files": ["/etc/passwd"]}, "no name of a file below"),
    ],
)
async def test_a_wrong_request_is_a_422_that_says_what_is_wrong(
    settings: Settings, body: Any, said: str
) -> None:
    async with running(settings) as platform:
        answer = await platform.client.post("/v1/training", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


async def test_a_file_and_a_job_that_are_not_there_are_404(settings: Settings) -> None:
    async with running(settings) as platform:
        body = {"kind": "train-sentiment", "files": ["news.csv"]}
        answer = await platform.client.post("/v1/training", json=body)
        assert answer.status_code == 404
        assert "training-data; put it there first" in answer.json()["detail"]
        for path in ("/v1/training/job-x", "/v1/training/job-x/logs"):
            assert (await platform.client.get(path)).status_code == 404


async def test_rules_say_when_they_are_due(settings: Settings) -> None:
    rule = {"name": "weekly", "job": FORECASTER, "every": "7d"}
    ruled = Settings.load({"data_dir": settings.data_dir, "retraining": [rule]})
    async with running(ruled) as platform:
        [answer] = (await platform.client.get("/v1/training/rules")).json()["rules"]
    assert (answer["rule"]["name"], answer["last_job"]) == ("weekly", None)
    assert answer["due_at"] == (NOW + timedelta(days=7)).isoformat().replace("+00:00", "Z")


async def test_drift_holds_the_newest_candles_and_articles_against_those_before(
    settings: Settings, tmp_path: Any
) -> None:
    watched = Settings.load(
        {"data_dir": settings.data_dir, "drift": {"window_candles": 200, "window_days": 2}}
    )
    rng = np.random.default_rng(0)
    rows = 3000
    # Three times as wild in the newest 200 hours as in all the time before.
    steps = rng.normal(0, 0.01, rows) * np.where(np.arange(rows) < rows - 200, 1, 3)
    close = 100 * np.exp(np.cumsum(steps))
    first = NOW.replace(minute=0) - rows * HOUR
    ts = to_ms(first) + np.arange(rows, dtype=np.int64) * 3_600_000
    volume = rng.uniform(1, 2, rows)
    candles = CandleTable.from_columns(ts, close, close * 1.001, close * 0.999, close, volume)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("none")
    registry = open_model_registry(watched)
    model = registry.register(
        "forecaster-1h",
        tmp_path / "model",
        params={},
        metrics={},
        tags={
            "model": "PatchTST",
            "trained_on": BTC_HOURLY.key,
            "trained_until": (NOW.replace(minute=0) - 300 * HOUR).isoformat(),
        },
    )
    registry.set_champion("forecaster-1h", model.version)
    async with running(watched) as platform:
        await platform.ports.candles.upsert(BTC_HOURLY, candles)
        articles = [
            an_article(
                id=article_id(f"https://n.example/{number}"),
                url=f"https://n.example/{number}",
                canonical_url=f"https://n.example/{number}",
                story_id=article_id(f"https://n.example/{number}"),
                title=f"{number} " + "word " * int(rng.integers(5, 15) * (3 if new else 1)),
                published_at=NOW - (HOUR if new else 100 * HOUR),
            )
            for new in (False, True)
            for number in range(60 * new, 60 + 60 * new)
        ]
        await platform.ports.articles.add(articles)
        score = SentimentScore(
            negative=0.1, neutral=0.1, positive=0.8, model="m", model_version="1"
        )
        await platform.ports.articles.save_scores(
            [ArticleScore(article_id=a.id, sentiment=score, scored_at=NOW) for a in articles]
        )
        reports = (await platform.client.get("/v1/training/drift")).json()["reports"]
    forecaster, sentiment = reports
    assert (forecaster["model"], forecaster["version"]) == ("forecaster-1h", model.version)
    state = {one["feature"]: one["state"] for one in forecaster["features"]}
    assert state["absolute_return"] == "drifted"
    assert state["volume_ratio"] == "stable"
    assert any("errors: 0 forecasts before" in note for note in forecaster["notes"])
    state = {one["feature"]: one["state"] for one in sentiment["features"]}
    assert state == {"text_length": "drifted", "sentiment_score": "stable"}
