"""What our gateway costs: its plainest route against an application that does nothing.

    python -m benchmarks.gateway_overhead

Two Rays run side by side, each in a process of its own. One has Serve's HAProxy ingress
and throughput settings, as `finsight up` starts it, with our gateway and, beside it, a
FastAPI application with one route that does nothing. The other has Serve's defaults and
the same idle application. They are loaded in turns by a client in this process, over
connections that are kept open.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from benchmarks.report import print_figure

CONNECTIONS = 32
ROUNDS = 5
SECONDS = 5.0
WARM_UP_S = 2.0
START_LIMIT_S = 180.0
FAST = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "120",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
}


def serve_applications(port: int, with_gateway: bool) -> None:
    """Start a Ray and its applications, say "ready", and stay until standard input ends."""
    import ray
    from fastapi import FastAPI
    from ray import serve

    idle_app = FastAPI()

    @idle_app.get("/healthz")
    async def idle() -> dict[str, str]:
        return {"status": "ok"}

    @serve.deployment(max_ongoing_requests=200, ray_actor_options={"num_cpus": 0.1})
    @serve.ingress(idle_app)
    class Idle:
        pass

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    options = {"host": "127.0.0.1", "port": port}
    serve.start(http_options=options, logging_config={"enable_access_log": False})
    serve.run(Idle.bind(), name="idle", route_prefix="/idle")
    if with_gateway:
        serve.run(_gateway(), name="finsight", route_prefix="/")
    print("ready", flush=True)
    sys.stdin.read()
    ray.shutdown()


def _gateway() -> object:
    from ray import serve

    from finsight.deployments.gateway import Gateway
    from finsight.settings import Settings

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Nothing:
        """In place of the models and the platform: the route asks none of them."""

    nothing = Nothing.bind()
    settings = Settings(data_dir=Path(tempfile.mkdtemp()))
    return Gateway.options(ray_actor_options={"num_cpus": 0.1}).bind(
        settings, sentiment=nothing, forecaster=nothing, platform=nothing
    )


class Connection(asyncio.Protocol):
    """Asks again as soon as it is answered, and counts the answers."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self.answered = 0
        self.wrong: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        if head[9:12] != b"200":
            self.wrong.append(head[:40])
        self.answered += 1
        self._received = b""
        assert self._transport is not None
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.wrong.append(b"the connection was closed")

    def leave(self) -> None:
        assert self._transport is not None
        self._transport.abort()


async def requests_a_second(url: str, seconds: float) -> float:
    """Load `url` over `CONNECTIONS` connections; return how many answers came a second."""
    parts = urlsplit(url)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    for _ in range(CONNECTIONS):
        _, connection = await loop.create_connection(
            lambda: Connection(request), parts.hostname, parts.port
        )
        connections.append(connection)
    started, before = time.perf_counter(), sum(c.answered for c in connections)
    await asyncio.sleep(seconds)
    answered = sum(c.answered for c in connections) - before
    elapsed = time.perf_counter() - started
    wrong = [reason for c in connections for reason in c.wrong]
    for connection in connections:
        connection.leave()
    if wrong:
        raise SystemExit(f"{url}: {len(wrong)} wrong answers, such as {wrong[0]!r}")
    return answered / elapsed


def measure(urls: dict[str, str]) -> dict[str, float]:
    """Load each address in turns; return the median of its rounds."""
    found: dict[str, list[float]] = {name: [] for name in urls}
    for url in urls.values():
        asyncio.run(requests_a_second(url, WARM_UP_S))
    for turn in range(ROUNDS):
        # Whoever comes first in a round may find the machine quieter.
        order = list(urls) if turn % 2 == 0 else list(reversed(urls))
        for name in order:
            found[name].append(asyncio.run(requests_a_second(urls[name], SECONDS)))
    for name, rates in found.items():
        print(f"{name}: {', '.join(f'{rate:,.0f}' for rate in rates)} requests/s", flush=True)
    return {name: median(rates) for name, rates in found.items()}


def main() -> int:
    ports = {"fast": _free_port(), "default": _free_port()}
    servers: list[subprocess.Popen[str]] = []
    try:
        for name, port in ports.items():
            servers.append(_start(name, port))
            # One after the other: two Rays that start together can outlast their own limits.
            if not any(line.strip() == "ready" for line in servers[-1].stdout or ()):
                raise SystemExit("a server did not start; its output is above")
        fast, default = (f"http://127.0.0.1:{port}" for port in ports.values())
        urls = {
            "ours": f"{fast}/healthz",
            "idle, same settings": f"{fast}/idle/healthz",
            "idle, defaults": f"{default}/idle/healthz",
        }
        for url in urls.values():
            _wait_for_200(url)
        rates = measure(urls)
    finally:
        for server in servers:
            assert server.stdin is not None
            server.stdin.close()
        for server in servers:
            server.wait(timeout=60)
    ours = rates["ours"]
    same = print_figure(
        f"a plain gateway route, {CONNECTIONS} connections, against an idle app, same settings",
        ours,
        rates["idle, same settings"],
        "requests/s",
        0.8,
        better="higher",
    )
    faster = print_figure(
        "the same against an idle app on Serve's defaults",
        ours,
        rates["idle, defaults"],
        "requests/s",
        3.0,
        better="higher",
    )
    return 0 if same and faster else 1


def _start(name: str, port: int) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    if name == "fast":
        folder = tempfile.mkdtemp()
        # Apart from a platform that runs on this machine, which uses the default places.
        environment |= FAST | {
            "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        }
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gateway_overhead", "--serve", name, str(port)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _wait_for_200(url: str) -> None:
    """A port that accepts is not yet an application that answers."""
    import httpx

    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            if httpx.get(url, trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass  # not there yet
        if time.monotonic() > deadline:
            raise SystemExit(f"{url} does not answer after {START_LIMIT_S:.0f} s")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--serve", nargs=2, metavar=("SETTINGS", "PORT"))
    asked = arguments.parse_args().serve
    if asked:
        serve_applications(int(asked[1]), with_gateway=asked[0] == "fast")
    else:
        raise SystemExit(main())
