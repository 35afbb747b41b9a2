"""Rules that train a model again: which of them is due, and the job that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from finsight.domain.drift import DriftReport
from finsight.domain.errors import FinSightError
from finsight.domain.retraining import RetrainingRule
from finsight.domain.training_job import TrainingJob
from finsight.ports.clock import Clock
from finsight.ports.training_jobs import TrainingJobStore
from finsight.services.training_jobs import TrainingJobs


@dataclass(frozen=True)
class RuleStatus:
    """A rule, its last job, and when it is due by the clock."""

    rule: RetrainingRule
    last: TrainingJob | None
    due_at: datetime | None
    problem: str | None = None


class Retraining:
    """Submits a job where a rule says so, once for each occasion.

    An occasion is "after the rule's last job": its key is kept with the job, so two that
    look at the same time, or one that is killed and looks again, submit one job.
    """

    def __init__(
        self,
        rules: Sequence[RetrainingRule],
        jobs: TrainingJobs,
        store: TrainingJobStore,
        clock: Clock,
    ) -> None:
        self._rules = rules
        self._jobs = jobs
        self._store = store
        self._clock = clock

    async def status(self) -> list[RuleStatus]:
        """Raises: StoreUnavailable."""
        found = []
        for rule in self._rules:
            last, since = await self._since(rule)
            found.append(RuleStatus(rule, last, rule.due_at(since)))
        return found

    async def look(self, drift: Mapping[str, DriftReport]) -> list[RuleStatus]:
        """Submit what is due, given each model's drift; return where every rule stands.

        Raises: StoreUnavailable. What keeps one rule from running is its `problem`.
        """
        for rule in self._rules:
            await self._store.first_seen(_prefix(rule), self._clock.now())
        found = []
        for rule in self._rules:
            last, since = await self._since(rule)
            problem = None
            why = self._why_now(rule, last, since, drift.get(rule.model))
            if why is not None and (last is None or last.has_ended):
                key = f"{_prefix(rule)}after {'nothing' if last is None else last.id}"
                try:
                    last = await self._jobs.submit(
                        rule.request, by=f"the rule {rule.name}: {why}", key=key
                    )
                    since = last.submitted_at
                except FinSightError as exc:
                    problem = f"the rule {rule.name} can't run: {exc}"
            found.append(RuleStatus(rule, last, rule.due_at(since), problem))
        return found

    async def _since(self, rule: RetrainingRule) -> tuple[TrainingJob | None, datetime]:
        """The rule's last job, and from when its time counts."""
        last = await self._store.newest_with_key(_prefix(rule))
        if last is not None:
            return last, last.submitted_at
        return None, await self._store.first_seen(_prefix(rule), self._clock.now())

    def _why_now(
        self,
        rule: RetrainingRule,
        last: TrainingJob | None,
        since: datetime,
        drift: DriftReport | None,
    ) -> str | None:
        now, due = self._clock.now(), rule.due_at(since)
        if due is not None and now >= due:
            return f"due since {due:%Y-%m-%d %H:%M} UTC"
        if rule.when_drift_above is None or drift is None:
            return None
        if last is not None and now - since < rule.at_most_every:
            return None
        return drift.beyond(rule.when_drift_above)


def _prefix(rule: RetrainingRule) -> str:
    return f"rule/{rule.name}/"
