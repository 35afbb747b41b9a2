"""The deployment that keeps the supervisor, on a Serve without HTTP."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import serve
from ray.exceptions import RayError

from finsight.actors.kept_actor import names_there
from finsight.deployments.platform import Platform
from finsight.settings import NAMESPACE, Settings

APP = "platform-test"


@pytest.fixture
def deployable(serving: str) -> Iterator[None]:
    yield
    if APP in serve.status().applications:
        serve.delete(APP)


def until(holds: Any, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def process_of(name: str) -> int | None:
    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
        return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30))
    except (ValueError, RayError):
        return None


def replica_process() -> int:
    (name,) = [
        actor["name"]
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if f"{APP}#Platform" in actor["name"]
    ]
    replica = ray.get_actor(name, namespace="serve")
    return int(ray.get(replica.__ray_call__.remote(lambda _: os.getpid()), timeout=30))


def test_the_platform_outlives_kills_and_ends_with_its_application(
    deployable: None, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path / "one")
    serve.run(Platform.bind(settings), name=APP, route_prefix=None)
    assert until(lambda: process_of("embedded-valkey"))
    first_supervisor, valkey = process_of("supervisor"), process_of("embedded-valkey")

    os.kill(int(first_supervisor or 0), signal.SIGKILL)
    assert until(lambda: process_of("supervisor") not in (None, first_supervisor))
    assert process_of("embedded-valkey") == valkey

    supervisor, replica = process_of("supervisor"), replica_process()
    os.kill(replica, signal.SIGKILL)
    assert until(lambda: replica_is_another(replica))
    assert process_of("supervisor") == supervisor
    assert process_of("embedded-valkey") == valkey

    # Deployed again with other settings, everything runs with those.
    other = Settings(data_dir=tmp_path / "two")
    serve.run(Platform.bind(other), name=APP, route_prefix=None)
    assert until(lambda: process_of("embedded-valkey") not in (None, valkey))
    assert until(other.valkey_address_file.exists)

    # A supervisor that can't stop its parts any more leaves none behind all the same.
    assert until(lambda: process_of("supervisor"))
    os.kill(int(process_of("supervisor") or 0), signal.SIGKILL)
    serve.delete(APP)
    assert until(lambda: names_there() == []), names_there()
    assert until(lambda: process_of("supervisor") is None)


def replica_is_another(than: int) -> bool:
    try:
        return replica_process() != than
    except (ValueError, RayError):
        return False
