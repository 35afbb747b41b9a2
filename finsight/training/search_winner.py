"""What comes of a search: the best recipe's model as challenger, and the record of it all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from finsight.domain.forecaster_search import TrialRecord
from finsight.domain.promotion import CHALLENGER
from finsight.ports.models import REGISTRATION_TAG, ModelReference, TrainedForecaster
from finsight.settings import Settings
from finsight.training.forecaster_data import TrainingData
from finsight.training.search_ledger import SearchLedger
from finsight.training.search_trial import Teach
from finsight.wiring import open_experiment_log, open_model_registry


def register_winner(
    settings: Settings,
    ledger: SearchLedger,
    winner: TrialRecord,
    data: TrainingData,
    teach: Teach,
) -> ModelReference:
    """Register the best recipe's model under the alias `challenger`, once a search.

    Its training goes on from the state that its trial left behind: the weights are the
    trial's own, learnt to the end of the recipe.

    Raises: InvalidInput, StoreUnavailable.
    """
    plan, registry = ledger.plan, open_model_registry(settings)
    kind = data.kind
    mark = {"search": plan.name, "search_trial": str(winner.number)}
    mark["search_made_at"] = plan.made_at.isoformat()
    for version in registry.versions(kind):
        # A search that is resumed after its end has nothing new to register.
        if mark.items() <= version.tags.items():
            return version
    # Named by the search: kept here while the registry is down, it is still registered once.
    registration = f"{plan.made_at:%Y%m%dT%H%M%S}-{kind}-search-{plan.name}"
    state = ledger.state_folder(winner.number)
    model = teach(data, winner.recipe, lambda _step, _loss: None, state)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        model.save(folder)
        reference = registry.register(
            kind,
            folder,
            params=model.params,
            metrics={**model.metrics, "search_loss_to_naive": winner.best},
            tags={**mark, **_tags(model, ledger), REGISTRATION_TAG: registration},
            history=model.history,
        )
    registry.set_alias(kind, CHALLENGER, reference.version)
    return reference


def _tags(model: TrainedForecaster, ledger: SearchLedger) -> dict[str, str]:
    plan = ledger.plan
    return {
        "model": model.name,
        "timeframe": str(plan.timeframe),
        "trained_on": ",".join(sorted(model.trained_on)),
        "trained_until": model.trained_until.isoformat(),
        "trained_at": plan.made_at.isoformat(),
        "horizon": str(model.max_horizon),
        "input_candles": str(model.min_history),
        "data_fingerprint": plan.fingerprint,
        "search_trials": str(len(ledger.records)),
    }


def log_search(
    settings: Settings,
    ledger: SearchLedger,
    winner: TrialRecord | None,
    registered: ModelReference | None,
    pictures: Mapping[str, bytes],
    *,
    finished: bool,
) -> None:
    """Write the search and all its trials to the experiment log; again, nothing changes.

    Raises: StoreUnavailable.
    """
    log = open_experiment_log(settings)
    run = log.search(ledger.plan)
    for record in ledger.records:
        log.trial(run, record)
    tags: dict[str, str] = {}
    metrics = {"trials": float(len(ledger.records))}
    if winner is not None:
        tags |= {"best_trial": str(winner.number), "best_family": str(winner.recipe.family)}
        metrics["best_loss_to_naive"] = winner.best
    if registered is not None:
        tags |= {"registered": f"{registered.kind} {registered.version}"}
        metrics |= {
            name: value for name, value in registered.metrics.items() if name.startswith("held_out")
        }
    log.end(run, metrics=metrics, tags=tags, pictures=pictures, finished=finished)
