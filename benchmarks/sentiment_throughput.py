"""Texts scored a second over HTTP, against `transformers.pipeline` and our own bare model.

    python -m benchmarks.sentiment_throughput [DATA_FOLDER]

The whole application is started as `finsight up` starts it, from serve_config.yaml, with
nothing to collect; requests go through HAProxy and the gateway. The load comes from a
process of its own on the same machine. All sides take turns, the same number of times,
with the same texts; the figures are medians. Our bare model gets as many threads and
processes as the served one; the pipeline gets torch's default, every core.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.report import print_figure
from benchmarks.sentiment_texts import DEFAULT_DATA, headlines
from finsight.adapters.models.onnx_sentiment import OnnxSentimentModel
from finsight.commands.local_platform import (
    finsight_application,
    read_config,
    running_platform,
    shipped_config,
)
from finsight.settings import Settings

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "6"))
CONNECTIONS_OF_MANY = 4
CONNECTIONS_OF_ONE = 64
TEXTS = 60_000
ROUTE = "/v1/sentiment/score"


def main() -> int:
    """Start everyone, measure in turns, print."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_DATA
    texts = headlines(data, TEXTS)
    with tempfile.TemporaryDirectory() as folder, peer_server() as peer_url:
        config = idle_platform(Path(folder))
        threads = Settings.load(finsight_application(config)["args"]).sentiment.threads
        bare = OnnxSentimentModel.compact(Path(folder), threads=threads)
        from benchmarks.sentiment_peer import peer_pipeline

        classify = peer_pipeline()
        with running_platform(config, lambda _: nullcontext()) as addresses:
            url = addresses.api + ROUTE
            wait_until_it_answers(url)
            rates = in_turns(
                {
                    "ours, 32 a request": lambda: over_http(url, CONNECTIONS_OF_MANY, 32, data),
                    "our bare model": lambda: direct(bare.score, texts),
                    "transformers.pipeline": lambda: direct(
                        lambda some: classify(some, batch_size=32), texts
                    ),
                    "ours, one a request": lambda: over_http(url, CONNECTIONS_OF_ONE, 1, data),
                    "FastAPI around the pipeline": lambda: over_http(
                        peer_url, CONNECTIONS_OF_ONE, 1, data
                    ),
                }
            )
    many, pipeline = rates["ours, 32 a request"], rates["transformers.pipeline"]
    figures = [
        (f"32 a request, {CONNECTIONS_OF_MANY} connections, vs pipeline", many, pipeline, 3.0),
        (f"the same vs our bare model, {threads} threads", many, rates["our bare model"], 0.8),
        (
            f"one a request, {CONNECTIONS_OF_ONE} connections, vs FastAPI",
            rates["ours, one a request"],
            rates["FastAPI around the pipeline"],
            3.0,
        ),
    ]
    met = [
        print_figure(name, ours, peer, "texts/s", target, "higher")
        for name, ours, peer, target in figures
    ]
    return 0 if all(met) else 1


def idle_platform(data_dir: Path) -> dict[str, Any]:
    """Return the shipped config, with nothing to collect and one replica of the model.

    A second replica would come after a minute of load, in the middle of the rounds.
    """
    config = read_config(shipped_config())
    application = finsight_application(config)
    sentiment = application["args"].get("sentiment", {})
    application["args"] = {
        "data_dir": str(data_dir / "data"),
        "sentiment": sentiment,
        "forecasting": {"train_when_missing": False},
    }
    for deployment in application["deployments"]:
        if deployment["name"] == "Sentiment":
            deployment["autoscaling_config"]["max_replicas"] = 1
    config["http_options"] = {"host": "127.0.0.1", "port": free_port()}
    return config


def in_turns(sides: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Measure every side once a round; return the medians and print what they are of."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(ROUNDS):
        # Whoever comes first in a round may find the machine quieter.
        for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            found[name].append(sides[name]())
    for name, rates in found.items():
        print(f"{name}: {', '.join(f'{rate:,.0f}' for rate in rates)} texts/s", flush=True)
    return {name: median(rates) for name, rates in found.items()}


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


@contextmanager
def peer_server() -> Iterator[str]:
    """The pipeline behind a plain FastAPI server, in a process of its own."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.sentiment_peer", str(port)])
    try:
        url = f"http://127.0.0.1:{port}{ROUTE}"
        wait_until_it_answers(url)
        yield url
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until_it_answers(url: str, limit_s: float = 120) -> None:
    """A port that accepts is not yet a model that answers."""
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


if __name__ == "__main__":
    raise SystemExit(main())
