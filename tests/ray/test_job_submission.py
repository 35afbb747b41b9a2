"""Trainings as Ray jobs, submitted by `ray job submit` to a cluster of `ray start`."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from finsight.settings import Settings
from finsight.wiring import open_model_registry
from tests.tiny_classifier import save_tiny_classifier

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(400)]
RAY = str(Path(sys.executable).with_name("ray"))


def environment() -> dict[str, str]:
    """A token that both ends know: Ray asks for one unless it is told not to."""
    return {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-these-tests"}


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the job server of a cluster with four logical CPUs answers.

    It has a folder of its own: in the usual one `ray start` leaves its address to whatever
    cluster is there next. A socket's path may not be long, so it is not pytest's.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    port, dashboard, agent, client = free_ports(4)
    ports = [f"--port={port}", f"--dashboard-port={dashboard}"]
    ports += [
        f"--temp-dir={folder}",
        f"--dashboard-agent-listen-port={agent}",
        f"--ray-client-server-port={client}",
    ]
    log = tmp_path_factory.mktemp("cluster") / "ray.log"
    with log.open("w") as output:
        head = subprocess.Popen(
            [RAY, "start", "--head", "--block", "--num-cpus=4", "--disable-usage-stats", *ports],
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and head.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", dashboard)) == 0:
                break
        time.sleep(0.2)
    else:
        pytest.fail(log.read_text()[-2000:])
    yield f"http://127.0.0.1:{dashboard}"
    processes = psutil.Process(head.pid).children(recursive=True)
    head.terminate()
    _, alive = psutil.wait_procs(processes, timeout=20)
    for process in alive:
        process.kill()
    head.wait()
    shutil.rmtree(folder, ignore_errors=True)


def submit(address: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RAY, "job", "submit", "--address", address, "--", *command],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_sentiment_training_by_ray_job_submit_registers_its_model(
    address: str, tmp_path: Path
) -> None:
    base, labelled = save_tiny_classifier(tmp_path / "tiny-base"), tmp_path / "news.csv"
    verbs = {"positive": "gains", "negative": "loses", "neutral": "opens"}
    rows = [
        (f"Coin {number} {verb}", label) for label, verb in verbs.items() for number in range(40)
    ]
    with labelled.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    module = [sys.executable, "-m", "finsight.training.train_sentiment", str(labelled)]
    options = ["--base", str(base), "--epochs", "2", "--data-dir", str(tmp_path / "data")]
    done = submit(address, *module, *options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "epoch 2 of 2" in done.stdout
    [made] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"kind"')]
    registry = open_model_registry(Settings(data_dir=tmp_path / "data"))
    challenger = registry.holder("sentiment", "challenger")
    assert challenger is not None
    assert (made["kind"], made["version"]) == ("sentiment", challenger.version)


def test_a_mistake_in_a_submitted_training_is_one_plain_line_of_its_log(
    address: str, tmp_path: Path
) -> None:
    labelled = tmp_path / "news.csv"
    labelled.write_text("text,label\nup,great\n")
    module = [sys.executable, "-m", "finsight.training.train_sentiment", str(labelled)]
    done = submit(address, *module, "--data-dir", str(tmp_path / "data"))
    assert done.returncode != 0
    assert "training failed: " in done.stdout
    assert "unknown labels: 'great'" in done.stdout
    assert not (tmp_path / "data" / "mlflow").exists()
