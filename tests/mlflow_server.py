"""A real MLflow server for tests, on the database and the bucket that it is given."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_TIMEOUT_S = 100.0


class MlflowServer:
    """One that can be stopped and started again at the same address."""

    def __init__(
        self, folder: Path, database: str, artifacts: str, environment: dict[str, str]
    ) -> None:
        self._folder, self._database = folder, database
        self._artifacts, self._environment = artifacts, environment
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self._folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--host", "127.0.0.1", "--port", str(self._port)),
                *("--backend-store-uri", self._database),
                *("--artifacts-destination", self._artifacts),
            ],
            env=os.environ | self._environment | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            cwd=self._folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"MLflow did not answer within {_START_TIMEOUT_S:.0f} s")

    def stop(self) -> None:
        """Kill it and its worker."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@contextmanager
def running_mlflow_server(
    folder: Path, database: str, artifacts: str, environment: dict[str, str] | None = None
) -> Iterator[MlflowServer]:
    """Run one on `database`, its artifacts at the address `artifacts`, its log in `folder`."""
    server = MlflowServer(folder, database, artifacts, environment or {})
    try:
        server.start()
        yield server
    finally:
        server.stop()
