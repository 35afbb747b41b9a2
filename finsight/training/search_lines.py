"""A search told in lines, as a job's log has it."""

from __future__ import annotations

import sys

from finsight.domain.forecaster_search import TrialRecord, TrialState
from finsight.training.recipe_searcher import values_of
from finsight.training.search_session import Standing


class Lines:
    """Says each thing that happens to a trial, once, a line each."""

    def __init__(self) -> None:
        self._said: dict[int, TrialState] = {}
        self._note = ""

    def __call__(self, standing: Standing) -> None:
        if standing.note and standing.note != self._note:
            print(standing.note, file=sys.stderr, flush=True)
        self._note = standing.note
        for record in standing.records:
            if self._said.get(record.number) is record.state:
                continue
            self._said[record.number] = record.state
            if record.state is not TrialState.OPEN:
                print(in_words(record), file=sys.stderr, flush=True)


def in_words(record: TrialRecord) -> str:
    """A trial as one line."""
    values = " ".join(f"{name}={value}" for name, value in values_of(record).items())
    loss = f"loss {record.best:.4f} of naive's" if record.losses else "no loss"
    reason = f" ({record.reason})" if record.reason else ""
    return f"trial {record.number}: {record.state} at step {record.step}, {loss}{reason}; {values}"
