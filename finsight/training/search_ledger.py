"""What a search keeps on disk, so that nothing that was done is done again.

    searches/NAME/plan.json           what was asked for
                  trials/0001.json    a trial: its recipe, its losses, how it ended
                  states/0001/        what its training goes on from
                  *.png               the pictures

Every file is written beside its place and moved there whole: a process killed at any
moment leaves the file as it was before or as it is after. Nothing here is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from finsight.domain.errors import InvalidInput, NotFound, StoreUnavailable
from finsight.domain.forecaster_search import SearchPlan, TrialRecord

Document = TypeVar("Document", bound=BaseModel)

_PLAN, _TRIALS, _STATES, _SECONDS = "plan.json", "trials", "states", "seconds.txt"


class SearchLedger:
    """The record of one search; one process at a time writes it."""

    def __init__(self, folder: Path, plan: SearchPlan) -> None:
        self.folder = folder
        self.plan = plan
        self._records: dict[int, TrialRecord] = {}
        self._lock = FileLock(folder / "in-use.lock", timeout=0)
        for path in sorted((folder / _TRIALS).glob("*.json")):
            record = _read(TrialRecord, path)
            self._records[record.number] = record

    @classmethod
    def begin(cls, searches: Path, plan: SearchPlan) -> SearchLedger:
        """Raises: InvalidInput (there is one of that name), StoreUnavailable."""
        folder = searches / plan.name
        if (folder / _PLAN).exists():
            raise InvalidInput(
                f"there is a search {plan.name} already: go on with it by --resume {plan.name}, "
                "or give another --name"
            )
        try:
            (folder / _TRIALS).mkdir(parents=True, exist_ok=True)
            _write(folder / _PLAN, plan)
        except OSError as exc:
            raise StoreUnavailable(f"the search can't be kept in {folder}: {exc}") from exc
        return cls(folder, plan)

    @classmethod
    def reopen(cls, searches: Path, name: str) -> SearchLedger:
        """Raises: NotFound (names those there are), StoreUnavailable (it can't be read)."""
        there = sorted(path.parent.name for path in searches.glob(f"*/{_PLAN}"))
        if name not in there:
            near = get_close_matches(name, there, n=1)
            known = f"there are {', '.join(there[-12:])}" if there else "none was begun here"
            hint = f"; did you mean {near[0]}?" if near else ""
            raise NotFound(f"there is no search {name} in {searches}: {known}{hint}")
        return cls(searches / name, _read(SearchPlan, searches / name / _PLAN))

    def __reduce__(self) -> tuple[type[SearchLedger], tuple[Path, SearchPlan]]:
        # A copy in another process reads what is on disk; the lock stays here.
        return SearchLedger, (self.folder, self.plan)

    def take(self) -> None:
        """Keep other processes out until this one ends. Raises: InvalidInput (one is in)."""
        try:
            self._lock.acquire()
        except Timeout as exc:
            raise InvalidInput(
                f"the search {self.plan.name} is running in another process"
            ) from exc

    def give_back(self) -> None:
        self._lock.release()

    @property
    def records(self) -> list[TrialRecord]:
        """All trials, in the order in which they were thought of."""
        return [self._records[number] for number in sorted(self._records)]

    def get(self, number: int) -> TrialRecord:
        return self._records[number]

    def next_number(self) -> int:
        return max(self._records, default=0) + 1

    def keep(self, record: TrialRecord) -> None:
        """Write a trial down. Raises: StoreUnavailable."""
        if self._records.get(record.number) == record:
            return
        try:
            _write(self.folder / _TRIALS / f"{record.number:04d}.json", record)
        except OSError as exc:
            raise StoreUnavailable(f"the search can't be kept in {self.folder}: {exc}") from exc
        self._records[record.number] = record

    def state_folder(self, number: int) -> Path:
        return self.folder / _STATES / f"{number:04d}"

    @property
    def seconds(self) -> float:
        """How long the search has worked, over all its sessions."""
        try:
            return float((self.folder / _SECONDS).read_text())
        except (OSError, ValueError):
            return 0.0

    def keep_seconds(self, seconds: float) -> None:
        partial = self.folder / f"{_SECONDS}.partial"
        partial.write_text(f"{seconds:.1f}")
        partial.replace(self.folder / _SECONDS)

    def keep_pictures(self, pictures: Iterable[tuple[str, bytes]]) -> list[Path]:
        """Write PNG files; return where they are."""
        written = []
        for name, png in pictures:
            (self.folder / name).write_bytes(png)
            written.append(self.folder / name)
        return written


def _write(path: Path, document: BaseModel) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(document.model_dump_json(indent=1))
    partial.replace(path)


def _read(kind: type[Document], path: Path) -> Document:
    """Raises: StoreUnavailable."""
    try:
        return kind.model_validate_json(path.read_text())
    except (OSError, ValidationError) as exc:
        raise StoreUnavailable(f"{path} can't be read as {kind.__name__}: {exc}") from exc
