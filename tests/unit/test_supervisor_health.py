"""What the supervisor says while the event server is away."""

import asyncio
import time
from pathlib import Path

import pytest

from finsight.actors.supervisor import Supervisor
from finsight.domain.errors import StoreUnavailable
from finsight.domain.health import PartState
from finsight.settings import Settings


async def test_without_its_redis_it_starts_nothing_and_says_why(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, redis_url="redis://:secret@127.0.0.1:1/0")  # type: ignore[arg-type]
    supervisor = Supervisor(settings)
    await supervisor._tick()
    parts = {part.part: part for part in await supervisor.health()}
    assert set(parts) == {"redis", "collectors"}
    assert {part.state for part in parts.values()} == {PartState.STARTING}
    assert "can't be reached" in parts["redis"].detail
    assert parts["collectors"].detail.startswith(
        "what to collect is not known yet: the event server can't be reached"
    )
    assert "secret" not in str(parts)
    with pytest.raises(StoreUnavailable):
        await supervisor.collectors()


async def test_health_is_answered_while_the_redis_hangs(tmp_path: Path) -> None:
    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = Settings(data_dir=tmp_path, redis_url=f"redis://127.0.0.1:{port}/0")  # type: ignore[arg-type]
    supervisor = Supervisor(settings)
    tick = asyncio.create_task(supervisor._tick())
    await asyncio.sleep(0.1)
    started = time.monotonic()
    parts = await supervisor.health()
    assert time.monotonic() - started < 1
    assert parts[0].state is PartState.STARTING
    tick.cancel()
    await asyncio.gather(tick, return_exceptions=True)
    server.close()
