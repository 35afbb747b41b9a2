"""The folder of an embedded valkey-server: its address, its configuration, its lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from finsight.domain.errors import Misconfigured

_LOCK_WITHIN_S = 5.0
_PORT_FREE_WITHIN_S = 5.0


@dataclass(frozen=True)
class ValkeyAddress:
    """Where the server listens, on loopback, and the password it asks for."""

    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


class ValkeyFolder:
    """`address.json`, `valkey.conf`, `lock`, `valkey.log` and the append-only file.

    Whatever holds the password has mode 0600 and is replaced atomically.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def address_file(self) -> Path:
        return self._folder / "address.json"

    @property
    def log_file(self) -> Path:
        return self._folder / "valkey.log"

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the folder; yield the lock's file descriptor, for the server to hold too.

        The lock is free once every process that holds the descriptor is gone, so a
        server that outlives its parent for a moment still keeps others out.

        Raises:
            Misconfigured: another live process holds it.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self._folder / "lock", "a+") as lock:
            deadline = time.monotonic() + _LOCK_WITHIN_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as exc:
                    if time.monotonic() > deadline:
                        lock.seek(0)
                        holder = lock.read().strip() or "unknown"
                        raise Misconfigured(
                            f"another FinSight (process {holder}) uses {self._folder}; stop it, "
                            "or set FINSIGHT_DATA_DIR to another folder"
                        ) from exc
                    time.sleep(0.1)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield lock.fileno()

    def address(self) -> ValkeyAddress:
        """Return the address kept, or a new one where there is none or its port is taken."""
        kept = self._kept_address()
        if kept is not None and _becomes_free(kept.port):
            return kept
        fresh = ValkeyAddress(_a_free_port(), kept.password if kept else secrets.token_urlsafe(32))
        _write_private(self.address_file, json.dumps({"url": fresh.url}))
        return fresh

    def write_configuration(self, address: ValkeyAddress) -> Path:
        """Write the server's configuration file; the password is nowhere on a command line."""
        lines = [
            "bind 127.0.0.1",
            f"port {address.port}",
            f"requirepass {address.password}",
            "protected-mode yes",
            f'dir "{_escaped(self._folder)}"',
            f'logfile "{_escaped(self.log_file)}"',
            "daemonize no",
            "databases 1",
            'save ""',
            "appendonly yes",
            # Before it answers. With `everysec` a slow disk may hold back what was answered
            # for two seconds, and killing the process then loses it.
            "appendfsync always",
            # What a crash cut off at the end was never acknowledged to anyone.
            "aof-load-truncated yes",
            # Events that wait for a group must never be evicted.
            "maxmemory-policy noeviction",
        ]
        path = self._folder / "valkey.conf"
        _write_private(path, "\n".join(lines) + "\n")
        return path

    def _kept_address(self) -> ValkeyAddress | None:
        try:
            url = urlsplit(json.loads(self.address_file.read_text())["url"])
            port, password = url.port, url.password
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return ValkeyAddress(port, password) if port and password else None


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def _becomes_free(port: int) -> bool:
    """Whether `port` can be listened on, now or within a few seconds."""
    deadline = time.monotonic() + _PORT_FREE_WITHIN_S
    while not _is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
