"""Which recipe is tried next, and which trial isn't worth its time: Optuna and ASHA.

Both know what earlier sessions of the search found, from its ledger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from finsight.domain.errors import InvalidInput
from finsight.domain.forecaster_recipe import Family
from finsight.domain.forecaster_search import TrialRecord, TrialState
from finsight.domain.recipe_space import Between, Values
from finsight.training.search_ledger import SearchLedger

METRIC, TIME = "loss", "step"
_NOBODY: Any = None
"""Tune's controller, which ASHA is given and doesn't look at."""

LOSSES_SURVIVED = 3
"""How often a trial's process may be lost."""

_REDUCTION = 3
_ASKED_AT_MOST = 500
_NO_IDEAS_YET = 6
"""Trials chosen by lot before Optuna learns from what came of them."""


class RecipeSearcher(Searcher):
    """Proposes the trials of a search: those that were not finished first, then new ones.

    Every proposal is in the ledger before it is tried. A combination that doesn't fit
    together (a patch longer than the input) is asked for again, never tried.
    """

    def __init__(self, ledger: SearchLedger) -> None:
        super().__init__(metric=METRIC, mode="min")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._ledger = ledger
        self._plan = ledger.plan
        self._asked: dict[int, optuna.Trial] = {}
        self._numbers: dict[str, int] = {}
        records = ledger.records
        self._again = [one.number for one in records if one.state is TrialState.OPEN]
        sampler = optuna.samplers.TPESampler(
            # A session that goes on must not draw what the first one drew.
            seed=self._plan.seed + len(records),
            n_startup_trials=_NO_IDEAS_YET * len(self._plan.space.families),
        )
        self._study = optuna.create_study(direction="minimize", sampler=sampler)
        for record in records:
            if record.state is not TrialState.OPEN:
                self._study.add_trial(self._as_optuna_knows_it(record))
        tried = {record.recipe.family for record in records}
        for family in self._plan.space.families:
            if family not in tried:
                self._study.enqueue_trial(self._usual(family))

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's number and where its state is, None for now, or FINISHED."""
        record = self._ledger.get(self._again.pop(0)) if self._again else self._new()
        if record is None:
            # One of those that run may have to be proposed again.
            return None if self._numbers else Searcher.FINISHED
        self._numbers[trial_id] = record.number
        return {
            "number": record.number,
            "recipe": record.recipe.model_dump(mode="json"),
            "state_folder": str(self._ledger.state_folder(record.number)),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how it went, by the ledger; propose it again if it never started.

        Tune gives a trial up whose process dies as it is handed over to it, and only counts
        the losses of those that run.
        """
        number = self._numbers.pop(trial_id)
        record = self._ledger.get(number)
        if error and record.state is TrialState.OPEN and record.restarts < LOSSES_SURVIVED:
            self._again.append(number)
            return
        asked = self._asked.pop(number, None)
        if asked is None:
            # It was thought of by an earlier session.
            self._study.add_trial(self._as_optuna_knows_it(record))
        elif math.isfinite(record.best):
            self._study.tell(asked, record.best)
        else:
            self._study.tell(asked, state=OptunaState.FAIL)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: all there is to know is in the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a session that goes on is made from the ledger."""

    def __reduce__(self) -> Any:
        # Tune pickles what it is given, for a way of resuming that isn't ours.
        return RecipeSearcher, (self._ledger,)

    def _new(self) -> TrialRecord | None:
        number = self._ledger.next_number()
        if self._plan.trials is not None and number > self._plan.trials:
            return None
        for _ in range(_ASKED_AT_MOST):
            asked = self._study.ask()
            family = Family(asked.suggest_categorical("family", self._plan.space.families))
            values = {
                name: _suggest(asked, f"{family}.{name}", choices)
                for name, choices in self._plan.space.parameters[family].items()
            }
            recipe = self._plan.space.recipe(self._plan.base, family, values)
            if recipe is None:
                self._study.tell(asked, state=OptunaState.FAIL)
                continue
            record = TrialRecord(number=number, recipe=recipe, values=values)
            self._asked[number] = asked
            self._ledger.keep(record)
            return record
        raise InvalidInput(
            f"of {_ASKED_AT_MOST} combinations none fits together: allow smaller patches, or "
            "heads that divide hidden_size"
        )

    def _as_optuna_knows_it(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        family = record.recipe.family
        parameters = self._plan.space.parameters[family]
        choices = {"family": tuple(self._plan.space.families)}
        distributions: dict[str, optuna.distributions.BaseDistribution] = {
            "family": optuna.distributions.CategoricalDistribution(choices["family"])
        } | {f"{family}.{name}": _distribution(values) for name, values in parameters.items()}
        known = math.isfinite(record.best)
        return optuna.trial.create_trial(
            state=OptunaState.COMPLETE if known else OptunaState.FAIL,
            value=record.best if known else None,
            params={"family": family}
            | {f"{family}.{name}": record.values[name] for name in parameters},
            distributions=distributions,
        )

    def _usual(self, family: Family) -> dict[str, Any]:
        """The base recipe in Optuna's words: each family begins with it, where it is allowed."""
        usual: dict[str, Any] = {"family": family}
        for name, choices in self._plan.space.parameters[family].items():
            value = getattr(self._plan.base, name)
            is_allowed = (
                choices.low <= value <= choices.high
                if isinstance(choices, Between)
                else value in choices
            )
            if is_allowed:
                usual[f"{family}.{name}"] = float(value)
        return usual


class RememberingAsha(ASHAScheduler):
    """ASHA (Li et al. 2020) whose rungs hold the losses of earlier sessions too.

    A trial is stopped at a rung (a third, a ninth ... of the steps) when it is not among
    the best third of those that came so far.
    """

    def __init__(self, ledger: SearchLedger) -> None:
        base = ledger.plan.base
        super().__init__(
            time_attr=TIME,
            max_t=base.steps,
            grace_period=min(base.steps, max(base.check_every, base.steps // _REDUCTION**2)),
            reduction_factor=_REDUCTION,
        )
        self.set_search_properties(METRIC, "min")
        self._past: dict[int, TrialRecord] = {}
        for record in ledger.records:
            if record.state is TrialState.OPEN:
                # Its rungs are filled when it comes again, under the name it has then.
                self._past[record.number] = record
            elif record.losses:
                self._fill(SimpleNamespace(trial_id=f"past-{record.number}"), record)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """As the base class; asked again by Tune for what is set already, it agrees."""
        return self._metric is not None or bool(super().set_search_properties(metric, mode, **spec))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        record = self._past.pop(trial.config["number"], None)
        if record is not None:
            self._tell(trial, record)

    def _fill(self, trial: Any, record: TrialRecord) -> None:
        super().on_trial_add(_NOBODY, trial)
        self._tell(trial, record)

    def _tell(self, trial: Any, record: TrialRecord) -> None:
        for one in record.losses:
            self.on_trial_result(_NOBODY, trial, {TIME: one.step, METRIC: one.loss})


def _suggest(asked: optuna.Trial, name: str, choices: Values) -> float:
    if isinstance(choices, Between):
        return float(asked.suggest_float(name, choices.low, choices.high, log=True))
    return float(asked.suggest_categorical(name, _floats(choices)))


def _distribution(choices: Values) -> optuna.distributions.BaseDistribution:
    if isinstance(choices, Between):
        return optuna.distributions.FloatDistribution(choices.low, choices.high, log=True)
    return optuna.distributions.CategoricalDistribution(_floats(choices))


def _floats(choices: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(value) for value in choices)


def values_of(record: TrialRecord) -> Mapping[str, str]:
    """A trial's family and parameters as words, for tables and logs."""
    return {"family": str(record.recipe.family)} | {
        name: f"{value:.2e}" if name == "learning_rate" else f"{value:g}"
        for name, value in record.values.items()
    }
