"""The experiment log of a search, told as it goes without making it wait."""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import Self

from finsight.domain.errors import StoreUnavailable
from finsight.domain.forecaster_search import SearchPlan, TrialRecord
from finsight.settings import Settings
from finsight.wiring import open_experiment_log


class TrialLogging:
    """Writes trials to the experiment log in a thread of its own.

    A log that is down costs the search nothing: `missed` says so, and what it was not
    told is in the ledger, from which it is told at the end or by a later session.
    """

    def __init__(self, settings: Settings, plan: SearchPlan) -> None:
        self._settings = settings
        self._plan = plan
        self._told: queue.SimpleQueue[TrialRecord | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="search-log", daemon=True)
        self.missed = ""

    def tell(self, record: TrialRecord) -> None:
        self._told.put(record)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._told.put(None)
        self._thread.join()

    def _work(self) -> None:
        log, run = open_experiment_log(self._settings), ""
        while (record := self._told.get()) is not None:
            if self.missed:
                continue
            try:
                run = run or log.search(self._plan)
                log.trial(run, record)
            except StoreUnavailable as exc:
                self.missed = str(exc)
