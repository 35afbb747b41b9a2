"""Texts scored a second over HTTP, against `transformers.pipeline` and our own bare model.

    python -m benchmarks.sentiment_throughput [DATA_FOLDER]

The compact model is served by the deployment `Sentiment` behind a FastAPI ingress, through
Serve's HAProxy. The load comes from a process of its own on the same machine.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Read by Ray when it is imported.
os.environ.setdefault("RAY_SERVE_ENABLE_HA_PROXY", "1")
os.environ.setdefault("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S", "60")

import httpx
import ray
from ray import serve

from benchmarks.report import print_figure
from benchmarks.sentiment_ingress import Ingress
from benchmarks.sentiment_texts import DEFAULT_DATA, headlines
from finsight.adapters.models.onnx_sentiment import OnnxSentimentModel
from finsight.deployments.sentiment import Sentiment

THREADS = int(os.environ.get("BENCH_THREADS", "2"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))


def direct(score: Callable[[list[str]], Any], texts: list[str]) -> float:
    """Texts a second of `score`, called with 32 at a time."""
    score(texts[:64])
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        start = done % (len(texts) - 32)
        score(texts[start : start + 32])
        done += 32
    return done / (time.perf_counter() - started)


def over_http(url: str, connections: int, texts_a_request: int, data: Path) -> float:
    """Texts a second that the load generator gets from `url`."""
    arguments = [url, connections, texts_a_request, SECONDS, data]
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.sentiment_load", *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(output.stdout)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until_it_answers(url: str, limit_s: float = 120) -> None:
    end = time.monotonic() + limit_s
    while True:
        answer = "nothing"
        try:
            response = httpx.post(url, json={"texts": ["up"]}, timeout=5)
            if response.status_code == 200:
                return
            answer = f"{response.status_code} {response.text}"
        except httpx.HTTPError as exc:
            answer = repr(exc)
        if time.monotonic() > end:
            raise TimeoutError(f"{url} answered {answer} for {limit_s:.0f} s")
        time.sleep(0.5)


def measure_peer_server(data: Path) -> float:
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.sentiment_peer", str(port)])
    try:
        url = f"http://127.0.0.1:{port}/v1/sentiment/score"
        wait_until_it_answers(url)
        return over_http(url, 64, 1, data)
    finally:
        server.terminate()
        server.wait()


def measure_ours(cache: Path, data: Path) -> tuple[float, float]:
    port = free_port()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(proxy_location="EveryNode", http_options={"host": "127.0.0.1", "port": port})
        load = functools.partial(OnnxSentimentModel.compact, cache, threads=THREADS)
        sentiment = Sentiment.options(ray_actor_options={"num_cpus": 1}).bind(load)
        serve.run(Ingress.bind(sentiment), name="bench", route_prefix="/")
        url = f"http://127.0.0.1:{port}/v1/sentiment/score"
        wait_until_it_answers(url)
        many = max(over_http(url, connections, 32, data) for connections in (2, 4, 8))
        one = over_http(url, 64, 1, data)
        sizes = httpx.get(f"http://127.0.0.1:{port}/batch-sizes").json()[-500:]
        print(f"texts a pass at one a request: {sum(sizes) / len(sizes):.1f}", flush=True)
        serve.shutdown()
        return many, one
    finally:
        ray.shutdown()


def main() -> None:
    """Measure, one after the other, and print."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_DATA
    texts = headlines(data, 20_000)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        bare = OnnxSentimentModel.compact(cache, threads=THREADS)
        direct_ours = direct(bare.score, texts)
        from benchmarks.sentiment_peer import peer_pipeline

        classify = peer_pipeline()
        direct_peer = direct(lambda some: classify(some, batch_size=32), texts)
        many, one = measure_ours(cache, data)
    one_peer = measure_peer_server(data)
    unit = "texts/s"
    print_figure("32 a request, vs transformers.pipeline", many, direct_peer, unit, 3.0, "higher")
    print_figure("32 a request, vs our bare model", many, direct_ours, unit, 0.8, "higher")
    print_figure("one a request, 64 connections, vs FastAPI", one, one_peer, unit, 3.0, "higher")


if __name__ == "__main__":
    main()
