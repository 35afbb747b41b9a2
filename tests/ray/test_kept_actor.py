"""An actor that is kept there, whatever happens to it."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from finsight.actors.kept_actor import KeptActor, names_there
from finsight.domain.errors import StoreUnavailable
from finsight.domain.health import PartHealth, PartState

NAME = "sentiment-worker:99"


class Part:
    """A part that can't be built until a file is there, and hangs or fails on demand."""

    def __init__(self, needed: Path) -> None:
        if not needed.exists():
            raise StoreUnavailable("the file it needs isn't there")
        self._stopped = needed.with_name("stopped")

    async def ensure_running(self, wish: str = "") -> list[PartHealth]:
        if wish == "hang":
            await asyncio.sleep(3600)
        if wish == "fail":
            raise StoreUnavailable("no store")
        return [PartHealth(part=NAME, state=PartState.OK, detail=f"{os.getpid()} {wish}")]

    async def stop(self) -> None:
        self._stopped.touch()


@pytest.fixture
async def kept(ray_cluster: Any, tmp_path: Path) -> AsyncIterator[KeptActor]:
    (tmp_path / "needed").touch()
    kept = KeptActor(NAME, lambda: Part, tmp_path / "needed")
    yield kept
    await kept.end()


async def tend_until(kept: KeptActor, state: PartState, *wanted: Any) -> PartHealth:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        await kept.tend(*wanted)
        if kept.health[0].state is state:
            return kept.health[0]
        await asyncio.sleep(0.2)
    raise AssertionError(f"never {state}: {kept.health}")


async def test_it_is_made_told_what_is_wanted_and_ended(kept: KeptActor, tmp_path: Path) -> None:
    assert kept.health[0].state is PartState.STARTING
    health = await tend_until(kept, PartState.OK, "a wish")
    assert health.detail.endswith("a wish")
    assert NAME in names_there()
    await kept.end()
    assert (tmp_path / "stopped").exists()
    deadline = time.monotonic() + 20
    while NAME in names_there():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_killed_it_is_there_again(kept: KeptActor) -> None:
    health = await tend_until(kept, PartState.OK)
    pid = int(health.detail.split()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (await tend_until(kept, PartState.OK)).detail.startswith(str(pid)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_one_that_could_not_be_built_is_made_anew(kept: KeptActor, tmp_path: Path) -> None:
    (tmp_path / "needed").unlink()
    await kept.tend()
    (health,) = kept.health
    assert health.state is PartState.STARTING
    assert "the file it needs isn't there" in health.detail
    (tmp_path / "needed").touch()
    await tend_until(kept, PartState.OK)


async def test_two_keepers_share_one_actor(kept: KeptActor, tmp_path: Path) -> None:
    other = KeptActor(NAME, lambda: Part, tmp_path / "needed")
    await asyncio.gather(kept.tend(), other.tend())
    first, second = await asyncio.gather(
        tend_until(kept, PartState.OK), tend_until(other, PartState.OK)
    )
    assert first.detail == second.detail


async def test_one_that_hangs_or_fails_says_so_and_recovers(
    kept: KeptActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tend_until(kept, PartState.OK)
    monkeypatch.setattr("finsight.actors.kept_actor._ANSWER_WITHIN_S", 0.5)
    hung = await tend_until(kept, PartState.STARTING, "hang")
    assert "has not answered" in hung.detail
    failed = await tend_until(kept, PartState.STARTING, "fail")
    assert "no store" in failed.detail
    await tend_until(kept, PartState.OK)


async def test_a_part_whose_vendor_is_not_installed_says_so(ray_cluster: Any) -> None:
    def missing() -> type[Any]:
        raise ModuleNotFoundError("No module named 'ccxt'")

    kept = KeptActor(NAME, missing)
    await kept.tend()
    assert "No module named 'ccxt'" in kept.health[0].detail
