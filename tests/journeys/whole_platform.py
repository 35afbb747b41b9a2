"""The whole platform in processes of its own, started as its user starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from finsight.commands.api_client import ApiClient, NotRunning
from finsight.domain.errors import FinSightError

READY_LIMIT_S = 240


@dataclass
class WholePlatform:
    """A running `finsight demo`, its API, and the processes below it."""

    process: subprocess.Popen[str]
    api: ApiClient
    data_dir: Path
    report: dict[str, Any]
    log: Path
    recordings: Path
    killed: list[int] = field(default_factory=list)

    def processes(self, title: str) -> list[psutil.Process]:
        """The living processes below the demo whose command line holds `title`."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if title in line and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def kill(self, title: str) -> None:
        """`kill -9` of the one process with that title."""
        found = self.processes(title)
        assert found, f"no process {title!r} to kill"
        for process in found:
            process.send_signal(signal.SIGKILL)
            self.killed.append(process.pid)

    def is_back(self, title: str) -> bool:
        """Whether another process has taken the place of those killed."""
        pids = {process.pid for process in self.processes(title)}
        return bool(pids) and not pids & set(self.killed)

    def is_ready(self) -> bool:
        """Whether it is ready, and no collector is still starting."""
        try:
            readiness = self.api.readiness()
        except FinSightError:
            return False
        states = {part["state"] for part in readiness.get("parts", [])}
        return bool(readiness["ready"]) and not states & {"starting", "failed"}

    def not_ready(self) -> list[dict[str, Any]]:
        """The parts that keep the platform from being ready, for a failing test's message."""
        try:
            parts = self.api.readiness().get("parts", [])
        except FinSightError as exc:
            return [{"gateway": str(exc)}]
        return [part for part in parts if part["state"] not in ("ok", "stopped")]


def wait_for(look: Callable[[], bool], limit_s: float, what: Callable[[], object]) -> float:
    """Wait until `look` holds; return the seconds it took, or fail with `what`."""
    began = time.monotonic()
    while not look():
        if time.monotonic() - began > limit_s:
            raise AssertionError(f"not within {limit_s:.0f} s: {what()}")
        time.sleep(0.2)
    return time.monotonic() - began


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def started_demo(folder: Path, recordings: Path) -> Iterator[WholePlatform]:
    """Run `finsight demo` on `recordings` until it is ready; stop it with Ctrl-C at the end."""
    port = free_port()
    report, log = folder / "demo.json", folder / "demo.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    arguments = [sys.executable, "-m", "finsight.cli", "demo", "--port", str(port)]
    arguments += ["--json", str(report), "--data-dir", str(folder / "data")]
    arguments += ["--recordings", str(recordings)]
    with log.open("w") as output:
        process = subprocess.Popen(
            arguments,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
            # As a script's background job begins: Ctrl-C must end it all the same.
            preexec_fn=_ignore_interrupts,
        )
    try:
        wait_for(
            lambda: report.exists() or process.poll() is not None, READY_LIMIT_S, log.read_text
        )
        assert process.poll() is None, f"the demo ended:\n{log.read_text()}"
        with ApiClient(f"http://127.0.0.1:{port}", timeout_s=10) as api:
            yield WholePlatform(
                process,
                api,
                folder / "data",
                json.loads(report.read_text()),
                log,
                recordings,
            )
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def is_up(api: ApiClient) -> bool:
    try:
        return api.is_running()
    except NotRunning:
        return False
