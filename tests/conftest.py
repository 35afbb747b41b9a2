"""What tests share: settings of their own, the real data, one small Ray cluster a session."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Set before anything imports Ray: its usage report and its auth mode are read on import.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# pytest-xdist sets it, and a console keeps for good what it finds when it is made.
os.environ.pop("COLUMNS", None)

import hypothesis
import pytest

from finsight.settings import Settings

# How long an example takes says nothing about it on a busy machine.
hypothesis.settings.register_profile("finsight", deadline=None)
# The same examples every time where a red run stops others; new ones on every desk.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "finsight")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a data folder of the test's own."""
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real candles, feeds and sentences; the test skips where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"LOUD SKIP: no real data at {SHARED_DATA}; this check did not run")
    return SHARED_DATA


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """One local Ray for the session: four logical CPUs on whatever the machine has."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        namespace="finsight",
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def run_async() -> Any:
    """Run a coroutine to its end in a loop of its own, for tests that are not async."""
    return asyncio.run


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one real Valkey for the session; tests want `valkey_url`."""
    from finsight.adapters.events.valkey_server import ValkeyServer

    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server.wait_until_it_answers()
    server.stop()


@pytest.fixture
def valkey_url(valkey_server: str) -> str:
    """The address, password included, of a real Valkey that holds nothing."""
    import redis

    with redis.Redis.from_url(valkey_server) as client:
        client.flushall()
    return valkey_server
