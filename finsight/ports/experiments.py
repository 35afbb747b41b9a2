"""What FinSight needs of anything that keeps the record of a search."""

from collections.abc import Mapping
from typing import Protocol

from finsight.domain.forecaster_search import SearchPlan, TrialRecord


class ExperimentLog(Protocol):
    """Keeps one run a search, with one run a trial below it.

    Told the same again it changes nothing, also by another process after a crash.
    Blocking; all methods raise `StoreUnavailable`.
    """

    def search(self, plan: SearchPlan) -> str:
        """Return the run of the search, made by the first call for a plan of that name and time."""
        ...

    def trial(self, search_run: str, record: TrialRecord) -> str:
        """Write a trial down below `search_run`: its recipe, its losses, how it ended."""
        ...

    def end(
        self,
        search_run: str,
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        pictures: Mapping[str, bytes],
        finished: bool = True,
    ) -> None:
        """End the run of the search with what came of it; an unfinished one may go on."""
        ...
