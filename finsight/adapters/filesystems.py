"""A local folder or an S3 bucket, opened the same way."""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Protocol

from finsight.domain.errors import Misconfigured, StoreUnavailable

_UNFINISHED = ".unfinished"


class MissingFile(StoreUnavailable):
    """A file isn't there (any more): whoever lists and then reads decides what that means."""


class Folder(Protocol):
    """Files below one address. Names are relative, with forward slashes. Blocking.

    All methods raise StoreUnavailable when the storage doesn't answer, with a
    plain message when it is full.
    """

    address: str

    def names(self, below: str = "") -> list[str]:
        """Return the files directly in the folder `below`, sorted; none if it isn't there."""
        ...

    def walk(self) -> list[str]:
        """Return every file at any depth, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's bytes. Raises: MissingFile, StoreUnavailable."""
        ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file to read parts of it; reading fails like opening.

        Raises: MissingFile, StoreUnavailable.
        """
        ...

    def exists(self, name: str) -> bool: ...

    def replace(self, name: str, content: bytes) -> None:
        """Write a file whole: readers and crashes meet the old one or the new one, never a part.

        When it returns, the content outlives a power cut.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a file, or do nothing when it isn't there."""
        ...

    def sweep(self, below: str) -> None:
        """Delete what crashed writers left unfinished in `below`. Hold its lock."""
        ...

    def lock(self, below: str) -> FileLock:
        """Keep other writers of `below` on this machine waiting for as long as it is held."""
        ...


def open_folder(address: str) -> Folder:
    """Open a local path, `file://path` or `s3://bucket/prefix`. Reaches out to nothing yet.

    A bucket's endpoint and keys come from the usual AWS variables
    (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …) or AWS's own configuration files.

    Raises:
        Misconfigured: the address has another scheme.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return LocalFolder(Path(address))
    if scheme == "file":
        return LocalFolder(Path(rest))
    if scheme != "s3" or not rest.strip("/"):
        raise Misconfigured(
            f"'{address}' is no place for files; expected a folder or s3://bucket/prefix"
        )
    # Loaded only where a bucket is used.
    from finsight.adapters.bucket_folder import BucketFolder

    return BucketFolder(rest.strip("/"))


class FileLock:
    """An advisory lock on a file: between processes, and between threads of one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> None:
        with _os_errors_translated(str(self._path)):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class LocalFolder:
    """Implements `Folder` in a local folder, which is made on the first write."""

    def __init__(self, root: Path) -> None:
        self.address = str(root)
        self._root = root

    def names(self, below: str = "") -> list[str]:
        # A file that appears or goes while a folder is being listed may or may not be seen.
        # Two equal listings in a row rule out having missed both a file and its replacement.
        with _os_errors_translated(self.address):
            listed = self._names_once(below)
            while listed != (again := self._names_once(below)):
                listed = again
            return listed

    def walk(self) -> list[str]:
        with _os_errors_translated(self.address):
            return sorted(
                (Path(folder) / name).relative_to(self._root).as_posix()
                for folder, _, names in os.walk(self._root)
                for name in names
                if not name.startswith(".")
            )

    def read(self, name: str) -> bytes:
        with _os_errors_translated(name):
            return (self._root / name).read_bytes()

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with _os_errors_translated(name), (self._root / name).open("rb") as file:
            yield file

    def exists(self, name: str) -> bool:
        with _os_errors_translated(name):
            return (self._root / name).is_file()

    def replace(self, name: str, content: bytes) -> None:
        target = self._root / name
        # In the same folder, because only there is a rename atomic.
        unfinished = target.parent / f".{uuid.uuid4().hex}{_UNFINISHED}"
        with _os_errors_translated(name):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(target)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)

    def delete(self, name: str) -> None:
        with _os_errors_translated(name):
            (self._root / name).unlink(missing_ok=True)

    def sweep(self, below: str) -> None:
        with _os_errors_translated(below):
            for left in (self._root / below).glob(f".*{_UNFINISHED}"):
                left.unlink(missing_ok=True)

    def lock(self, below: str) -> FileLock:
        return FileLock(self._root / below / ".lock")

    def _names_once(self, below: str) -> list[str]:
        try:
            return sorted(n for n in os.listdir(self._root / below) if not n.startswith("."))
        except FileNotFoundError:
            return []


def _sync_folder(folder: Path) -> None:
    # A renamed file is safe from a power cut only once its folder is on the disk as well.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _os_errors_translated(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise MissingFile(name) from exc
    except OSError as exc:
        raise StoreUnavailable(_plain_words(name, exc)) from exc


def _plain_words(name: str, exc: OSError) -> str:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {name} was not written; free some space and try again"
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"this user may not write or read {name}: {exc.strerror}"
    return f"the disk failed at {name}: {exc.strerror or exc}"
