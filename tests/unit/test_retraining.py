"""Rules that train again: when they are due, and that one occasion is one job."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from finsight.adapters.state.sqlite_training_jobs import SqliteTrainingJobs
from finsight.domain.drift import DriftReport, DriftState, FeatureDrift
from finsight.domain.errors import Misconfigured
from finsight.domain.job_options import JobKind
from finsight.domain.retraining import RetrainingRule
from finsight.domain.training_job import JobState
from finsight.services.retraining import Retraining
from finsight.services.training_jobs import TrainingJobs
from finsight.settings import Settings
from finsight.training.jobs import settings_as_environment
from tests.builders import NOON
from tests.fixed_clock import FixedClock

FORECASTER = {"kind": "train-forecaster", "timeframe": "1h"}
DAY = timedelta(days=1)


def a_rule(**given: Any) -> RetrainingRule:
    return RetrainingRule.model_validate({"name": "hourly", "job": FORECASTER, **given})


def open_retraining(
    folder: Path, clock: FixedClock, *rules: RetrainingRule
) -> tuple[Retraining, SqliteTrainingJobs]:
    store = SqliteTrainingJobs(folder / "jobs.sqlite")
    here = dict.fromkeys(JobKind, "finsight.settings")
    jobs = TrainingJobs(store, clock, folder, here)
    return Retraining(rules, jobs, store, clock), store


def drifted(psi: float) -> dict[str, DriftReport]:
    feature = FeatureDrift(
        feature="range", psi=psi, state=DriftState.DRIFTED, reference=1, newest=1
    )
    model = "forecaster-1h"
    return {model: DriftReport(model=model, version="1", measured_at=NOON, features=(feature,))}


async def end_all(store: SqliteTrainingJobs) -> None:
    for job in await store.recent((JobState.QUEUED,)):
        await store.replace(job, job.ended(JobState.FAILED, "no candles", job.submitted_at))


async def test_a_rule_counts_from_when_it_was_first_seen_and_then_from_its_last_job(
    tmp_path: Path,
) -> None:
    clock = FixedClock(NOON)
    retraining, store = open_retraining(tmp_path, clock, a_rule(every="7d"))
    await retraining.look({})
    clock.moment += 7 * DAY - timedelta(seconds=1)
    await retraining.look({})
    assert await store.recent() == []
    clock.moment += timedelta(seconds=1)
    [status] = await retraining.look({})
    [job] = await store.recent()
    assert status.last == job
    assert job.by == "the rule hourly: due since 2024-01-08 12:00 UTC"
    assert job.request.model_dump()["promote"] is True
    assert status.due_at == NOON + 14 * DAY
    # While it waits or runs, nothing follows; once it ended, nothing before the next week.
    clock.moment += 8 * DAY
    await retraining.look({})
    assert len(await store.recent()) == 1
    await end_all(store)
    await retraining.look({})
    assert len(await store.recent()) == 2
    await end_all(store)
    await retraining.look({})
    assert len(await store.recent()) == 2


async def test_many_watches_that_look_at_once_and_one_that_was_killed_submit_one_job(
    tmp_path: Path,
) -> None:
    clock = FixedClock(NOON)
    watches = [open_retraining(tmp_path, clock, a_rule(every="1d"))[0] for _ in range(6)]
    await watches[0].look({})
    clock.moment += DAY
    await asyncio.gather(*(watch.look({}) for watch in watches))
    again, store = open_retraining(tmp_path, clock, a_rule(every="1d"))
    await again.look({})
    assert len(await store.recent()) == 1


async def test_drift_runs_a_rule_but_not_too_often(tmp_path: Path) -> None:
    clock = FixedClock(NOON)
    rule = a_rule(when_drift_above=0.25, at_most_every="2d")
    retraining, store = open_retraining(tmp_path, clock, rule)
    await retraining.look({})
    await retraining.look(drifted(0.24))
    assert await store.recent() == []
    await retraining.look(drifted(0.31))
    [job] = await store.recent()
    assert job.by == "the rule hourly: PSI of range is 0.31"
    await end_all(store)
    clock.moment += 2 * DAY - timedelta(seconds=1)
    await retraining.look(drifted(0.31))
    assert len(await store.recent()) == 1
    clock.moment += timedelta(seconds=1)
    await retraining.look(drifted(0.31))
    assert len(await store.recent()) == 2


async def test_drift_of_another_model_is_nothing_to_a_rule(tmp_path: Path) -> None:
    retraining, store = open_retraining(tmp_path, FixedClock(NOON), a_rule(when_drift_above=0.25))
    [report] = drifted(0.9).values()
    await retraining.look({"forecaster-4h": report})
    assert await store.recent() == []


def test_a_time_of_day_is_kept_however_long_the_job_before_waited() -> None:
    rule = a_rule(every="1d", at="03:00")
    late = datetime(2024, 1, 5, 3, 0, 40, tzinfo=UTC)
    assert rule.due_at(late) == datetime(2024, 1, 6, 3, tzinfo=UTC)
    assert a_rule(every="2w", at="03:00").due_at(late) == datetime(2024, 1, 19, 3, tzinfo=UTC)
    assert a_rule(when_drift_above=0.3).due_at(late) is None


async def test_a_rule_that_can_not_run_says_why_and_holds_up_no_other(tmp_path: Path) -> None:
    sentiment = {"kind": "train-sentiment", "files": ["gone.csv"], "champion": True}
    clock = FixedClock(NOON)
    broken = a_rule(name="broken", job=sentiment, every="1d")
    retraining, store = open_retraining(tmp_path, clock, broken, a_rule(every="1d"))
    await retraining.look({})
    clock.moment += DAY
    first, second = await retraining.look({})
    assert "the rule broken can't run: there is no file gone.csv" in str(first.problem)
    assert second.problem is None
    assert len(await store.recent()) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"every": "7x"}, "'7x' is no span of time; expected such as 30m, 12h, 7d, 2w"),
        ({"every": "5m"}, "`every` is shorter than 10 minutes"),
        ({}, "a rule needs `every` or `when_drift_above`"),
        ({"every": "12h", "at": "03:00"}, "`at` needs `every` in whole days"),
        ({"every": "1d", "job": {"kind": "evaluate-forecaster"}}, "trains nothing"),
        ({"every": "1d", "job": {"kind": "train-forecster"}}, "did you mean train-forecaster"),
        (
            {"every": "1d", "job": {"kind": "train-sentiment", "files": ["a.csv"]}},
            "promoted on labelled texts: name some in `promote_on`",
        ),
        ({"every": "1d", "evry": "1d"}, "evry"),
    ],
)
def test_a_wrong_rule_is_refused_when_the_settings_are_read(
    wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(Misconfigured) as raised:
        Settings.load({"retraining": [{"name": "x", "job": FORECASTER, **wrong}]})
    assert said in str(raised.value)


def test_two_rules_have_two_names() -> None:
    rule = {"name": "x", "job": FORECASTER, "every": "1d"}
    with pytest.raises(Misconfigured, match="same name"):
        Settings.load({"retraining": [rule, rule]})


def test_a_job_gets_the_settings_of_the_platform_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {
        "data_dir": tmp_path,
        "redis_url": "redis://:secret@somewhere",
        "forecasting": {"horizon": 7},
        "sentiment": {"model": "ProsusAI/finbert"},
        "clock_offset_s": -3.5,
        "feeds": [{"name": "x", "url": "https://x.example/?key=secret"}],
    }
    variables = settings_as_environment(Settings.load(given))
    assert "secret" not in str(variables)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    there = Settings.load()
    assert there.forecasting.horizon == 7
    assert there.sentiment.model == "ProsusAI/finbert"
    assert (there.clock_offset_s, there.data_dir) == (-3.5, tmp_path)
