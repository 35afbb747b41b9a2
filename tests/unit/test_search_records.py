"""A search's ledger, its log and its table: what outlives it, told the same however often."""

import io
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from finsight.commands.forecaster_search import in_one_line, trials_table
from finsight.domain.errors import InvalidInput, NotFound, StoreUnavailable
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe
from finsight.domain.forecaster_search import (
    Reported,
    SearchPlan,
    TrialRecord,
    TrialState,
    best_of,
    ranked,
)
from finsight.domain.recipe_space import read_space
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import REGISTRATION_TAG
from finsight.settings import Settings
from finsight.training.search_ledger import SearchLedger
from finsight.training.search_pictures import search_pictures
from finsight.training.search_session import Standing
from finsight.wiring import open_experiment_log, open_model_registry, open_unsent_runs

NOW = datetime(2024, 1, 1, tzinfo=UTC)
VALUES = {
    "input_size": 96.0,
    "hidden_size": 16.0,
    "dropout": 0.1,
    "learning_rate": 1e-3,
    "batch_size": 32.0,
    "layers": 1.0,
}


def a_plan(name: str = "winter") -> SearchPlan:
    return SearchPlan(
        name=name,
        timeframe=Timeframe.H1,
        space=read_space(["patchtst", "nhits"], ["learning_rate=1e-4..1e-2"]),
        base=ForecasterRecipe(steps=90, check_every=10),
        trials=4,
        until=NOW,
        fingerprint="f",
        made_at=NOW,
    )


def a_trial(number: int, *losses: float, state: TrialState = TrialState.OPEN) -> TrialRecord:
    return TrialRecord(
        number=number,
        recipe=ForecasterRecipe(family=Family.NHITS, steps=90, layers=1),
        values=VALUES | {"learning_rate": number * 1e-3},
        losses=tuple(Reported(step=10 * (i + 1), loss=loss) for i, loss in enumerate(losses)),
        state=state,
        ended_s=None if state is TrialState.OPEN else 60.0 * number,
    )


RECORDS = [
    a_trial(1, 1.2, 0.99, 1.01, state=TrialState.FINISHED),
    a_trial(2, 1.5, state=TrialState.STOPPED),
    a_trial(3, 0.5, math.nan, state=TrialState.FAILED),
    a_trial(4, 1.1),
]


def test_the_best_has_the_lowest_loss_of_those_that_did_not_fail() -> None:
    best = best_of(RECORDS)
    assert best is not None
    assert (best.number, best.best) == (1, 0.99)
    assert [record.number for record in ranked(RECORDS)] == [1, 4, 2, 3]
    assert best_of([a_trial(1)]) is None


def test_a_loss_that_is_known_is_not_written_twice() -> None:
    record = a_trial(1, 1.2, 0.9)
    assert record.reported(20, 0.1) is record
    assert record.reported(30, 0.8).step == 30


def test_what_was_kept_is_read_back_as_it_was(tmp_path: Path) -> None:
    ledger = SearchLedger.begin(tmp_path, a_plan())
    for record in RECORDS:
        ledger.keep(record)
    ledger.keep_seconds(12.34)
    again = SearchLedger.reopen(tmp_path, "winter")
    assert again.plan == a_plan()
    assert [r.number for r in again.records] == [1, 2, 3, 4]
    assert [r for r in again.records if r.number != 3] == [r for r in RECORDS if r.number != 3]
    assert math.isnan(again.get(3).losses[-1].loss)
    assert again.seconds == pytest.approx(12.3)
    assert again.next_number() == 5


def test_a_search_is_begun_once_and_written_by_one_process(tmp_path: Path) -> None:
    ledger = SearchLedger.begin(tmp_path, a_plan())
    with pytest.raises(InvalidInput, match="--resume winter"):
        SearchLedger.begin(tmp_path, a_plan())
    ledger.take()
    with pytest.raises(InvalidInput, match="is running in another process"):
        SearchLedger.reopen(tmp_path, "winter").take()
    ledger.give_back()
    SearchLedger.reopen(tmp_path, "winter").take()
    with pytest.raises(NotFound, match="did you mean winter"):
        SearchLedger.reopen(tmp_path, "wintr")
    (tmp_path / "winter" / "trials" / "0001.json").write_text("{}")
    with pytest.raises(StoreUnavailable, match=r"0001\.json can't be read as TrialRecord"):
        SearchLedger.reopen(tmp_path, "winter")


def test_the_searcher_goes_on_from_the_ledger(tmp_path: Path) -> None:
    from finsight.training.recipe_searcher import RecipeSearcher

    ledger = SearchLedger.begin(tmp_path, a_plan())
    ledger.keep(RECORDS[0])
    ledger.keep(a_trial(2, 1.1))
    searcher = RecipeSearcher(SearchLedger.reopen(tmp_path, "winter"))
    first, second, third = (searcher.suggest(f"t{number}") for number in range(3))
    # The open one again, as it was; then new ones until the plan's four are there.
    assert first["number"] == 2
    assert first["recipe"] == a_trial(2).recipe.model_dump(mode="json")
    assert (second["number"], third["number"]) == (3, 4)
    # No trial of PatchTST was there yet, so it begins with the usual recipe.
    assert second["recipe"]["family"] == "patchtst"
    assert second["recipe"]["hidden_size"] == ForecasterRecipe().hidden_size
    assert searcher.suggest("t4") is None  # Not yet: one of these may have to come again.
    for trial_id in ("t0", "t1", "t2"):
        searcher.on_trial_complete(trial_id)
    assert searcher.suggest("t5") == "FINISHED"
    kept = SearchLedger.reopen(tmp_path, "winter").records
    assert [record.number for record in kept] == [1, 2, 3, 4]


def test_a_trial_whose_process_died_before_it_started_is_proposed_again(tmp_path: Path) -> None:
    from finsight.training.recipe_searcher import LOSSES_SURVIVED, RecipeSearcher

    ledger = SearchLedger.begin(tmp_path, a_plan())
    for number in (1, 2, 3):
        ledger.keep(a_trial(number, 1.0, state=TrialState.FINISHED))
    searcher = RecipeSearcher(ledger)
    lost = searcher.suggest("t0")
    searcher.on_trial_complete("t0", error=True)
    assert searcher.suggest("t1") == lost
    # Lost again and again, it is given up.
    ledger.keep(ledger.get(4).model_copy(update={"restarts": LOSSES_SURVIVED}))
    searcher.on_trial_complete("t1", error=True)
    assert searcher.suggest("t2") == "FINISHED"


def test_asha_judges_by_the_losses_of_earlier_sessions(tmp_path: Path) -> None:
    from types import SimpleNamespace
    from typing import Any

    from finsight.training.recipe_searcher import RememberingAsha

    nobody: Any = None
    ledger = SearchLedger.begin(tmp_path, a_plan())
    for number in (1, 2, 3):
        ledger.keep(a_trial(number, 1.0, 0.9, 0.8, state=TrialState.STOPPED))
    asha = RememberingAsha(ledger)
    fresh: Any = SimpleNamespace(trial_id="fresh", config={"number": 4})
    asha.on_trial_add(nobody, fresh)
    assert asha.on_trial_result(nobody, fresh, {"step": 10, "loss": 1.3}) == "STOP"
    other: Any = SimpleNamespace(trial_id="other", config={"number": 5})
    asha.on_trial_add(nobody, other)
    assert asha.on_trial_result(nobody, other, {"step": 10, "loss": 0.7}) == "CONTINUE"


# SQLAlchemy warns of MLflow's own mappings.
@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_the_log_holds_each_trial_once_whoever_tells_it(settings: Settings) -> None:
    from mlflow import MlflowClient

    for _ in range(2):
        # The second is another process, after a crash.
        log = open_experiment_log(settings)
        run = log.search(a_plan())
        for record in RECORDS:
            log.trial(run, record)
    log.trial(run, RECORDS[3].reported(20, 0.9).model_copy(update={"state": TrialState.FINISHED}))
    log.end(run, metrics={"best": 0.9}, tags={"best_trial": "4"}, pictures={"a.png": b"\x89PNG"})
    client = MlflowClient(f"sqlite:///{settings.data_dir}/mlflow/mlflow.sqlite")
    experiment = client.get_experiment_by_name("finsight-searches").experiment_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run}'")
    assert len(client.search_runs([experiment])) == 1 + len(RECORDS) == 1 + len(children)
    by_name = {child.info.run_name: child for child in children}
    last = by_name["trial 4 nhits"]
    told = client.get_metric_history(last.info.run_id, "loss_to_naive")
    assert [(one.step, one.value) for one in told] == [(10, 1.1), (20, 0.9)]
    assert last.info.status == "FINISHED"
    assert by_name["trial 3 nhits"].info.status == "FAILED"
    parent = client.get_run(run)
    assert parent.data.params["data_fingerprint"] == "f"
    assert parent.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run, "pictures")] == ["pictures/a.png"]


def test_the_table_shows_what_differs_and_what_runs() -> None:
    standing = Standing(a_plan(), RECORDS, frozenset({4}), 90.0, "")
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(trials_table(standing))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert lines[0] == ["trial", "family", "learning_rate", "step", "loss", "/", "naive", "state"]
    assert lines[1] == ["4", "nhits", "4.00e-03", "10/90", "1.1000", "running"]
    assert lines[2] == ["1", "nhits", "1.00e-03", "30/90", "0.9900", "finished"]
    assert in_one_line(standing) == (
        "winter: 3 of 4 trials ended, 1 of them early, best 0.9900 of naive's (trial 1)"
    )


def test_pictures_are_drawn_of_whatever_there_is() -> None:
    assert search_pictures(a_plan(), [a_trial(1)]) == {}
    drawn = search_pictures(a_plan(), RECORDS)
    assert set(drawn) == {"losses.png", "best-so-far.png", "parameters.png"}
    assert all(png.startswith(b"\x89PNG") and len(png) > 5_000 for png in drawn.values())


def test_a_winner_that_was_kept_and_registered_by_a_resume_is_there_once(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from finsight.training.search_winner import register_winner

    settings = Settings(data_dir=tmp_path)
    ledger = SearchLedger.begin(tmp_path, a_plan())
    winner = a_trial(2, 0.9, state=TrialState.FINISHED)

    def save(folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_bytes(b"w")

    model = SimpleNamespace(
        name="NHITS",
        params={},
        metrics={"loss": 0.9},
        history={},
        trained_on=("binance BTC/USDT",),
        trained_until=NOW,
        max_horizon=24,
        min_history=96,
        save=save,
    )
    data: Any = SimpleNamespace(kind="forecaster-1h")
    made = register_winner(settings, ledger, winner, data, cast(Any, lambda *_: model))
    # As if the registry had been down when the search ended, and a resume had come first.
    unsent = open_unsent_runs(settings)
    save(tmp_path / "model")
    unsent.keep(
        made.tags[REGISTRATION_TAG],
        made.kind,
        tmp_path / "model",
        params={},
        metrics={},
        tags=made.tags,
        history={},
        pictures={},
    )
    registry = open_model_registry(settings)
    [sent] = unsent.send(registry)
    assert sent.reference is not None
    assert sent.reference.version == made.version
    assert len(registry.versions(made.kind)) == 1
