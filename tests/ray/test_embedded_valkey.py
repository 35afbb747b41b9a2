"""The event server's actor, on real processes that are killed."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from redis import Redis

from finsight.actors.embedded_valkey import EmbeddedValkey
from finsight.domain.health import PartState
from finsight.settings import Settings


@pytest.fixture
def actor(ray_cluster: Any, settings: Settings) -> Iterator[Any]:
    remote = ray_cluster.remote(EmbeddedValkey)
    actor = remote.options(num_cpus=0, max_restarts=-1).remote(settings)
    yield actor
    ray_cluster.get(actor.stop.remote())
    ray_cluster.kill(actor)


async def until_ok(actor: Any, seconds: float = 60) -> None:
    from ray.exceptions import ActorUnavailableError

    deadline = time.monotonic() + seconds
    health: Any = None
    while time.monotonic() < deadline:
        try:
            (health,) = await actor.ensure_running.remote()
            if health.state is PartState.OK:
                return
        except ActorUnavailableError as exc:
            health = exc
        await asyncio.sleep(0.1)
    raise AssertionError(f"the event server is not back: {health}")


async def is_gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process has ended; one that nobody has buried yet has."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_killed_server_and_killed_actor_come_back_with_address_and_data(
    actor: Any, settings: Settings
) -> None:
    await until_ok(actor)
    url = json.loads(settings.valkey_address_file.read_text())["url"]
    with Redis.from_url(url) as client:
        client.set("kept", "yes")

        server_pid = await actor.server_pid.remote()
        os.kill(server_pid, signal.SIGKILL)
        await asyncio.sleep(0.2)
        await until_ok(actor)
        assert await actor.server_pid.remote() != server_pid
        assert client.get("kept") == b"yes"

        server_pid = await actor.server_pid.remote()
        actor_pid = await actor.__ray_call__.remote(lambda _: os.getpid())
        os.kill(actor_pid, signal.SIGKILL)
        await until_ok(actor)
        assert await actor.__ray_call__.remote(lambda _: os.getpid()) != actor_pid
        assert await is_gone(server_pid)  # it went with its actor
        assert client.get("kept") == b"yes"
    assert json.loads(settings.valkey_address_file.read_text())["url"] == url
