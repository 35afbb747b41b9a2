"""The embedded event server: a real process, killed, hung up on and started again."""

import asyncio
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis

from finsight.adapters.events.redis_streams import RedisStreamsBus
from finsight.adapters.events.valkey_server import ValkeyServer
from finsight.domain.errors import StoreUnavailable
from finsight.domain.events import ArticleCollected
from tests.builders import NOON


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "a folder" / "valkey")
    server.start()
    server.wait_until_it_answers()
    yield server
    server.stop()


def kill(server: ValkeyServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


def wait_until_gone(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


def address(server: ValkeyServer) -> str:
    return str(json.loads(server.address_file.read_text())["url"])


def test_the_address_is_for_its_user_alone_and_the_password_on_no_command_line(
    server: ValkeyServer,
) -> None:
    assert server.wait_until_it_answers() == address(server)
    for path in (server.address_file, server.address_file.with_name("valkey.conf")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    password = address(server).split(":")[2].split("@")[0]
    command = Path(f"/proc/{server.pid}/cmdline").read_text()
    assert "valkey-server" in command
    assert password not in command
    assert len(password) >= 32
    port = address(server).split(":")[-1].split("/")[0]
    with Redis(port=int(port)) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()


def test_killed_it_comes_back_by_itself_with_its_data_and_address(server: ValkeyServer) -> None:
    before = address(server)
    with Redis.from_url(before) as client:
        client.set("kept", "yes")
        old_pid = server.pid
        kill(server)
        wait_until_gone(int(old_pid or 0))
        server.start()  # harmless
        deadline = time.monotonic() + 30
        while server.problem is not None or server.pid == old_pid:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.get("kept") == b"yes"
    assert address(server) == before


def test_stopped_and_started_it_has_the_same_address_and_data(tmp_path: Path) -> None:
    urls = []
    for _ in range(2):
        server = ValkeyServer(tmp_path)
        server.start()
        urls.append(server.wait_until_it_answers())
        with Redis.from_url(urls[-1]) as client:
            assert client.incr("starts") == len(urls)
        pid = server.pid
        server.stop()
        assert pid is not None
        wait_until_gone(pid)
        assert server.problem == "was stopped"
    assert urls[0] == urls[1]


def test_an_append_only_file_that_was_cut_off_is_recovered(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path)
    server.start()
    with Redis.from_url(server.wait_until_it_answers()) as client:
        client.set("a", "whole")
        client.set("b", "cut")
    server.stop()
    (written,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
    written.write_bytes(written.read_bytes()[:-3])
    server = ValkeyServer(tmp_path)
    server.start()
    with Redis.from_url(server.wait_until_it_answers()) as client:
        assert (client.get("a"), client.get("b")) == (b"whole", None)
    server.stop()


def test_a_folder_in_use_is_refused_with_the_reason(
    server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finsight.adapters.events.valkey_folder._LOCK_WITHIN_S", 0.2)
    second = ValkeyServer(server.address_file.parent)
    second.start()
    deadline = time.monotonic() + 10
    while "another FinSight" not in str(second.problem):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(StoreUnavailable, match="FINSIGHT_DATA_DIR"):
        second.wait_until_it_answers(0)
    second.stop()
    assert server.problem is None


def test_a_port_that_somebody_took_is_given_up_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr("finsight.adapters.events.valkey_folder._PORT_FREE_WITHIN_S", 0.2)
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        taken = somebody.getsockname()[1]
        (tmp_path / "address.json").write_text(
            json.dumps({"url": f"redis://:kept@127.0.0.1:{taken}/0"})
        )
        server = ValkeyServer(tmp_path)
        server.start()
        url = server.wait_until_it_answers()
        assert url == address(server)
        assert f":{taken}/" not in url
        assert url.startswith("redis://:kept@")
        server.stop()


def test_the_server_dies_with_the_process_that_keeps_it(tmp_path: Path) -> None:
    keeper = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib\n"
            "from finsight.adapters.events.valkey_server import ValkeyServer\n"
            "server = ValkeyServer(pathlib.Path(sys.argv[1]))\n"
            "server.start(); server.wait_until_it_answers()\n"
            "print(server.pid, flush=True); time.sleep(60)\n",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert keeper.stdout is not None
    pid = int(keeper.stdout.readline())
    keeper.kill()
    keeper.wait()
    keeper.stdout.close()
    wait_until_gone(pid)


async def test_events_survive_kills_in_the_middle_of_publishing_and_handling(
    server: ValkeyServer,
) -> None:
    """At least once, whatever is killed: with a handler that is idempotent, exactly once."""
    total, kills = 600, 3
    url = server.wait_until_it_answers()
    handled: dict[str, int] = {}
    published = asyncio.Event()

    async def publish() -> None:
        bus = RedisStreamsBus(url)
        for first in range(0, total, 5):
            batch = [
                ArticleCollected(
                    happened_at=NOON, article_id=f"{n:032x}", title=str(n), source="example"
                )
                for n in range(first, first + 5)
            ]
            while True:
                try:
                    await bus.publish(batch)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)  # unannounced articles are announced again
            await asyncio.sleep(0.01)
        await bus.close()
        published.set()

    async def consume(name: str) -> None:
        bus = RedisStreamsBus(url, claim_after=timedelta(seconds=1))
        # Not "until all were acknowledged": a kill may swallow the answer to one that was.
        while not (published.is_set() and len(handled) == total):
            try:
                for delivery in await bus.receive("g", name, ["ArticleCollected"], 20, 0.5):
                    event = delivery.event
                    assert isinstance(event, ArticleCollected)
                    handled.setdefault(event.article_id, 0)
                    handled[event.article_id] += 1
                    await bus.acknowledge("g", [delivery.id])
            except StoreUnavailable:
                await asyncio.sleep(0.05)
        await bus.close()

    async def kill_now_and_then() -> None:
        for _ in range(kills):
            await asyncio.sleep(random.uniform(0.3, 0.6))
            await asyncio.to_thread(server.wait_until_it_answers)
            kill(server)

    async with asyncio.timeout(60):
        await asyncio.gather(publish(), consume("one"), consume("two"), kill_now_and_then())
    assert set(handled) == {f"{n:032x}" for n in range(total)}
    bus = RedisStreamsBus(server.wait_until_it_answers(), claim_after=timedelta(0))
    while left := await bus.receive("g", "one", ["ArticleCollected"], 100, 0.2):
        # Handled, but killed before it was acknowledged: at least once, not lost.
        await bus.acknowledge("g", [delivery.id for delivery in left])
    assert await bus.receive("g", "two", ["ArticleCollected"], 100, 0.2) == []
    assert await bus.count_dead_letters() == 0
    await bus.close()
