"""An S3 bucket as a folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import fsspec
from botocore.exceptions import BotoCoreError, ClientError

from finsight.adapters.filesystems import FileLock, MissingFile
from finsight.domain.errors import StoreUnavailable

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 30


class BucketFolder:
    """Implements `Folder` in an S3 bucket, where a put is atomic.

    The lock holds back writers on this machine alone: let one machine write a series.
    """

    def __init__(self, root: str) -> None:
        self.address = f"s3://{root}"
        self._root = root
        # A listing kept in memory would hide what other processes write, and a file system
        # kept in memory the endpoint and keys that the environment names by now.
        self._files = fsspec.filesystem(
            "s3",
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "read_timeout": _READ_TIMEOUT_S,
                "retries": {"max_attempts": 3, "mode": "standard"},
            },
        )

    def names(self, below: str = "") -> list[str]:
        folder = f"{self._root}/{below}".rstrip("/")
        return [n for n in self._found(folder) if "/" not in n]

    def walk(self) -> list[str]:
        return self._found(self._root)

    def read(self, name: str) -> bytes:
        with _bucket_errors_translated(self.address, name):
            return bytes(self._files.cat_file(f"{self._root}/{name}"))

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with (
            _bucket_errors_translated(self.address, name),
            # Column chunks lie apart: reading ahead would fetch what nobody asked for.
            self._files.open(f"{self._root}/{name}", "rb", cache_type="none") as file,
        ):
            yield file

    def exists(self, name: str) -> bool:
        with _bucket_errors_translated(self.address, name):
            return bool(self._files.exists(f"{self._root}/{name}"))

    def replace(self, name: str, content: bytes) -> None:
        with _bucket_errors_translated(self.address, name):
            self._files.pipe_file(f"{self._root}/{name}", content)

    def delete(self, name: str) -> None:
        with _bucket_errors_translated(self.address, name):
            try:
                self._files.rm_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return

    def sweep(self, below: str) -> None:
        """Do nothing: a put that was cut leaves no object."""

    def lock(self, below: str) -> FileLock:
        name = hashlib.sha256(f"{self.address}/{below}".encode()).hexdigest()[:32]
        return FileLock(Path(tempfile.gettempdir()) / f"finsight-locks-{os.getuid()}" / name)

    def _found(self, folder: str) -> list[str]:
        with _bucket_errors_translated(self.address, folder):
            try:
                paths = self._files.find(folder)
            except FileNotFoundError:
                return []
            return sorted(path.removeprefix(f"{folder}/") for path in paths)


@contextmanager
def _bucket_errors_translated(address: str, name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise MissingFile(name) from exc
    # s3fs turns most answers into OSErrors; what never reached the server stays botocore's.
    except (OSError, BotoCoreError, ClientError) as exc:
        raise StoreUnavailable(f"the bucket {address} failed at {name}: {exc}") from exc
