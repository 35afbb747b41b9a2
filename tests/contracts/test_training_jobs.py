"""What every store of training jobs promises."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from finsight.adapters.state.sqlite_training_jobs import LOG_CHARACTERS, SqliteTrainingJobs
from finsight.domain.errors import NotFound, StoreUnavailable
from finsight.domain.job_requests import TrainForecaster
from finsight.domain.training_job import JobState, TrainingJob
from finsight.ports.training_jobs import TrainingJobStore
from tests.builders import HOUR, NOON

STORES = {"sqlite": lambda folder: SqliteTrainingJobs(folder / "new" / "jobs.sqlite")}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TrainingJobStore:
    return STORES[request.param](tmp_path)


def a_job(name: str, hours: int = 0, key: str | None = None) -> TrainingJob:
    return TrainingJob(
        id=name,
        request=TrainForecaster(steps=3),
        by="ann",
        submitted_at=NOON + hours * HOUR,
        key=key,
    )


async def test_gives_back_what_was_added(store: TrainingJobStore, tmp_path: Path) -> None:
    await store.add(a_job("job-a"))
    again = STORES["sqlite"](tmp_path)
    assert await again.get("job-a") == a_job("job-a")


async def test_one_key_is_one_job_whoever_adds_it(tmp_path: Path) -> None:
    stores = [STORES["sqlite"](tmp_path) for _ in range(8)]
    added = await asyncio.gather(
        *(one.add(a_job(f"job-{n}", key="rule/x/after 1")) for n, one in enumerate(stores))
    )
    assert len({job.id for job in added}) == 1
    assert len(await stores[0].recent()) == 1


async def test_an_unknown_job_is_not_found_and_the_nearest_is_named(
    store: TrainingJobStore,
) -> None:
    await store.add(a_job("job-abcdef"))
    with pytest.raises(NotFound, match="no job job-abcdex; did you mean job-abcdef"):
        await store.get("job-abcdex")
    with pytest.raises(NotFound, match="finsight jobs list"):
        await store.log("zzz")


async def test_lists_newest_first_by_state(store: TrainingJobStore) -> None:
    for name, hours in (("a", 0), ("b", 2), ("c", 1)):
        await store.add(a_job(name, hours))
    b = await store.get("b")
    assert await store.replace(b, b.ended(JobState.FAILED, "no candles", NOON))
    assert [job.id for job in await store.recent()] == ["b", "c", "a"]
    assert [job.id for job in await store.recent((JobState.QUEUED,), 1)] == ["c"]
    assert [job.reason for job in await store.recent((JobState.FAILED,))] == ["no candles"]


async def test_takes_the_one_that_waited_longest_and_no_more_than_may_run(
    store: TrainingJobStore,
) -> None:
    for name, hours in (("late", 2), ("early", 0), ("middle", 1)):
        await store.add(a_job(name, hours))
    taken = await store.take_next(2)
    assert taken is not None
    assert (taken.id, taken.run_id, taken.attempts) == ("early", "early.1", 1)
    running = taken.model_copy(update={"state": JobState.RUNNING})
    assert await store.replace(taken, running)
    second = await store.take_next(2)
    assert second is not None
    assert second.id == "middle"
    assert await store.take_next(2) is None
    await store.replace(running, running.ended(JobState.SUCCEEDED, "", NOON))
    third = await store.take_next(2)
    assert third is not None
    assert third.id == "late"


async def test_many_who_take_at_once_take_no_job_twice_and_no_more_than_may_run(
    tmp_path: Path,
) -> None:
    stores = [STORES["sqlite"](tmp_path) for _ in range(6)]
    for number in range(6):
        await stores[0].add(a_job(f"job-{number}"))
    taken = await asyncio.gather(*(one.take_next(4) for one in stores))
    ids = [job.id for job in taken if job is not None]
    assert len(ids) == len(set(ids)) == 4


async def test_replaces_only_what_is_still_as_it_was(store: TrainingJobStore) -> None:
    before = await store.add(a_job("a"))
    cancelled = before.ended(JobState.CANCELLED, "by ann", NOON)
    assert await store.replace(before, cancelled)
    assert not await store.replace(before, before.taken())
    assert await store.get("a") == cancelled


async def test_a_job_queued_again_waits_behind_those_that_waited(store: TrainingJobStore) -> None:
    first = await store.add(a_job("first"))
    await store.add(a_job("second", 1))
    ended = first.taken().ended(JobState.FAILED, "", NOON)
    await store.replace(first, ended)
    await store.replace(ended, ended.queued_again(NOON + 2 * HOUR))
    for name, run in (("second", "second.1"), ("first", "first.2")):
        taken = await store.take_next(2)
        assert taken is not None
        assert (taken.id, taken.run_id) == (name, run)


async def test_the_end_of_a_long_log_is_kept(store: TrainingJobStore) -> None:
    await store.add(a_job("a"))
    assert await store.log("a") == ""
    await store.save_log("a", "first\n" + "x" * LOG_CHARACTERS + "\nlast")
    kept = await store.log("a")
    assert kept.endswith("\nlast")
    assert len(kept) == LOG_CHARACTERS


async def test_finds_the_newest_job_of_a_rule(store: TrainingJobStore) -> None:
    await store.add(a_job("a", 0, key="rule/x/after 1"))
    await store.add(a_job("b", 1, key="rule/x/after 2"))
    await store.add(a_job("c", 2, key="rule/x_/after 1"))
    await store.add(a_job("d", 3))
    found = await store.newest_with_key("rule/x/")
    assert found is not None
    assert found.id == "b"
    assert await store.newest_with_key("rule/y/") is None


async def test_remembers_when_a_rule_was_first_seen(store: TrainingJobStore) -> None:
    assert await store.first_seen("rule/x/", NOON) == NOON
    assert await store.first_seen("rule/x/", NOON + timedelta(days=1)) == NOON


async def test_a_file_that_is_no_store_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_text("this is no SQLite file, by a long way" * 50)
    with pytest.raises(StoreUnavailable, match=r"jobs\.sqlite can't be used"):
        await SqliteTrainingJobs(tmp_path / "jobs.sqlite").recent()
