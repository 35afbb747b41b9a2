"""One session of a search on Ray Tune: trials proposed, watched, and written down."""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

# Read when Tune is imported or first used: its own log files, and its own Ctrl-C.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray import tune

from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.domain.forecaster_search import SearchPlan, TrialRecord, TrialState
from finsight.training.forecaster_data import TrainingData
from finsight.training.ray_cluster import join_cluster
from finsight.training.recipe_searcher import (
    LOSSES_SURVIVED,
    METRIC,
    TIME,
    RecipeSearcher,
    RememberingAsha,
)
from finsight.training.search_ledger import SearchLedger
from finsight.training.search_trial import FINISHED, REFUSED, Teach, run_trial

_TUNE_FOLDER = "tune"
_WAITED_LONG_S = 30.0


@dataclass(frozen=True)
class Standing:
    """How a search is doing now. `running` holds the numbers of the trials at work."""

    plan: SearchPlan
    records: Sequence[TrialRecord]
    running: frozenset[int] = frozenset()
    seconds: float = 0.0
    note: str = ""


Watch = Callable[[Standing], None]
Tell = Callable[[TrialRecord], None]


class Ending(tune.Stopper):
    """When a session ends before all trials do: Ctrl-C, or its time is up."""

    def __init__(self, seconds_left: float | None) -> None:
        self._until = None if seconds_left is None else time.monotonic() + seconds_left
        self.interrupted = False

    @property
    def is_due(self) -> bool:
        return self.interrupted or (self._until is not None and time.monotonic() >= self._until)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.is_due

    def __reduce__(self) -> Any:
        return Ending, (None,)

    @contextmanager
    def by_signals(self) -> Iterator[None]:
        """Let the first Ctrl-C or SIGTERM end the session, and a second one everything."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def end(number: int, _frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        ending = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, end) for number in ending}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class TrialDesk(tune.Callback):
    """Writes down what Tune tells of the trials, and shows it to whoever watches."""

    def __init__(self, ledger: SearchLedger, ending: Ending, watch: Watch, tell: Tell) -> None:
        self._ledger = ledger
        self._tell = tell
        self._ending = ending
        self._watch = watch
        self._running: set[int] = set()
        self._began = time.monotonic()
        self._before_s = ledger.seconds
        self._shown = -math.inf
        self._ever_ran = False

    def __reduce__(self) -> Any:
        return tune.Callback, ()

    @property
    def seconds(self) -> float:
        return self._before_s + time.monotonic() - self._began

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self._shown < 1.0:
            return
        self._ledger.keep_seconds(self.seconds)
        waited = time.monotonic() - self._began > _WAITED_LONG_S and not self._ever_ran
        cpus = self._ledger.plan.cpus
        self.show(f"waiting until {cpus:g} CPUs of the cluster are free" if waited else "")

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._record(trial)
        self._running.add(record.number)
        self._ever_ran = True
        if record.began_s is None:
            self._keep(record.model_copy(update={"began_s": self.seconds}))
        self.show()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        record = self._record(trial).reported(result[TIME], result[METRIC])
        if result.get(REFUSED):
            record = self._ended(record, TrialState.FAILED, result[REFUSED])
        elif result.get(FINISHED) or record.step >= record.recipe.steps:
            record = self._finished(record)
        elif not math.isfinite(result[METRIC]):
            record = self._ended(record, TrialState.FAILED, f"it diverged by step {result[TIME]}")
        self._keep(record)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._record(trial)
        self._running.discard(record.number)
        if record.state is TrialState.OPEN and not self._ending.is_due:
            self._keep(self._ended(record, TrialState.STOPPED, "not among the best third"))
        self.show()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._record(trial)
        self._keep(record.model_copy(update={"restarts": record.restarts + 1}))
        self.show(f"trial {record.number} lost its process; it goes on from its state")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._record(trial)
        self._running.discard(record.number)
        if record.state is TrialState.OPEN and record.restarts < LOSSES_SURVIVED:
            self.on_trial_recover(iteration, trials, trial)  # The searcher proposes it again.
            return
        reason = _last_words(trial)
        self._keep(self._ended(record, TrialState.FAILED, reason))
        self.show()

    def show(self, note: str = "") -> None:
        self._shown = time.monotonic()
        self._watch(
            Standing(
                self._ledger.plan,
                self._ledger.records,
                frozenset(self._running),
                self.seconds,
                note,
            )
        )

    def _record(self, trial: Any) -> TrialRecord:
        return self._ledger.get(trial.config["number"])

    def _keep(self, record: TrialRecord) -> None:
        self._ledger.keep(record)
        self._tell(record)

    def _finished(self, record: TrialRecord) -> TrialRecord:
        if not math.isfinite(record.best):
            return self._ended(record, TrialState.FAILED, "it ended without a validation loss")
        return self._ended(record, TrialState.FINISHED, "")

    def _ended(self, record: TrialRecord, state: TrialState, reason: str) -> TrialRecord:
        if record.state is not TrialState.OPEN:
            return record
        words = " ".join(reason.split())
        return record.model_copy(
            update={"state": state, "reason": words, "ended_s": round(self.seconds, 1)}
        )


def run_session(
    ledger: SearchLedger,
    data: TrainingData,
    teach: Teach,
    *,
    watch: Watch,
    tell: Tell,
    seconds_left: float | None = None,
) -> bool:
    """Try recipes until the plan's trials or its time are used up.

    Returns whether it was interrupted. What a trial reported is on disk before the next
    word of it is heard.

    Raises: InvalidInput (a trial takes more CPUs than the cluster has), ModelUnavailable.
    """
    plan = ledger.plan
    cpus = _cpus_for(plan.cpus)
    at_once = max(1, int(cpus // plan.cpus))
    searcher, ending = RecipeSearcher(ledger), Ending(seconds_left)
    desk = TrialDesk(ledger, ending, watch, tell)
    # What Tune keeps for its own way of resuming is of no use here: the ledger has it all.
    shutil.rmtree(ledger.folder / _TUNE_FOLDER, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(run_trial, data=data, teach=teach), {"cpu": plan.cpus}
        ),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="min",
            search_alg=searcher,
            scheduler=RememberingAsha(ledger),
            num_samples=-1,
            max_concurrent_trials=at_once,
            # Importing torch takes a trial longer than starting over in the same process.
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=plan.name,
            storage_path=str(ledger.folder / _TUNE_FOLDER),
            stop=ending,
            callbacks=[desk],
            failure_config=tune.FailureConfig(max_failures=LOSSES_SURVIVED),
            verbose=0,
        ),
    )
    for name in ("ray.tune", "ray.train"):
        # Trials that fail are in the table; its own stack traces say nothing more.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with ending.by_signals():
            desk.show()
            tuner.fit()
    except tune.TuneError as exc:
        raise ModelUnavailable(f"the search broke off: {str(exc).strip()[-400:]}") from exc
    finally:
        ledger.keep_seconds(desk.seconds)
        shutil.rmtree(ledger.folder / _TUNE_FOLDER, ignore_errors=True)
    return ending.interrupted


def _cpus_for(trial: float) -> float:
    """Join or start a cluster; return how many CPUs it has, enough for a trial."""
    here = os.cpu_count() or 1
    joins = ray.is_initialized() or os.environ.get("RAY_ADDRESS")
    found = join_cluster(here, dashboard=False) if joins or trial <= here else float(here)
    if trial > found:
        raise InvalidInput(
            f"a trial is to take {trial:g} CPUs and this Ray cluster has {found:g}: no trial "
            "could ever start; give it fewer"
        )
    return found


def _last_words(trial: Any) -> str:
    """Return the last line of what ended a trial."""
    try:
        lines = Path(trial.error_file).read_text().strip().splitlines()
    except (OSError, TypeError):
        lines = []
    return (lines[-1] if lines else "its process was lost again and again")[:300]
