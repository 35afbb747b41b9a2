"""The champion before serves again, whatever happened in between: on a real registry."""

from datetime import timedelta
from pathlib import Path

import pytest

from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.promotion import CHALLENGER, CHAMPION, Verdict
from finsight.ports.models import ModelRegistry
from finsight.services.promotion import appoint, roll_back
from tests.unit.http_platform import StoppedClock


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    return MlflowRegistry(None, tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


def three_versions(registry: ModelRegistry, kind: str, folder: Path) -> None:
    (folder / "weights.txt").write_text("weights")
    for _ in range(3):
        registry.register(kind, folder, params={}, metrics={}, tags={})


def serve(registry: ModelRegistry, clock: StoppedClock, kind: str, version: str) -> None:
    clock.moment += timedelta(minutes=1)
    appoint(registry, clock, kind, version, by="ada", reason="a test")


def back(registry: ModelRegistry, clock: StoppedClock, kind: str) -> str:
    clock.moment += timedelta(minutes=1)
    decision = roll_back(
        registry, clock, kind, by="the record", reason="it got worse", evidence={"ratio": 1.2}
    )
    champion = registry.holder(kind, CHAMPION)
    assert champion is not None
    assert champion.version == decision.version
    return decision.version


def test_the_one_before_serves_again_and_it_is_written_down(registry, clock, tmp_path):
    three_versions(registry, "written", tmp_path)
    serve(registry, clock, "written", "1")
    registry.set_alias("written", CHALLENGER, "2")
    serve(registry, clock, "written", "2")
    assert registry.holder("written", CHALLENGER) is None
    assert back(registry, clock, "written") == "1"
    newest = registry.decisions("written")[0]
    assert (newest.verdict, newest.version, newest.before) == (Verdict.ROLLED_BACK, "1", "2")
    assert (newest.by, newest.reason) == ("the record", "it got worse")
    assert newest.evidence == {"ratio": 1.2}
    assert newest.decided_at == clock.moment


def test_who_was_rolled_back_does_not_come_again(registry, clock, tmp_path):
    three_versions(registry, "again", tmp_path)
    for version in ("1", "2"):
        serve(registry, clock, "again", version)
    assert back(registry, clock, "again") == "1"
    serve(registry, clock, "again", "3")
    assert back(registry, clock, "again") == "1"
    with pytest.raises(NotFound, match="nothing served before again version 1"):
        roll_back(registry, clock, "again", by="ada", reason="once more")


def test_one_that_served_in_between_and_again_leads_back_step_by_step(registry, clock, tmp_path):
    three_versions(registry, "steps", tmp_path)
    for version in ("1", "2", "1"):
        serve(registry, clock, "steps", version)
    assert [back(registry, clock, "steps") for _ in range(2)] == ["2", "1"]


def test_a_champion_without_a_decision_is_rolled_back_to_the_last_decided(
    registry, clock, tmp_path
):
    three_versions(registry, "undecided", tmp_path)
    serve(registry, clock, "undecided", "1")
    registry.set_champion("undecided", "3")
    assert back(registry, clock, "undecided") == "1"


def test_without_a_champion_a_name_or_a_reason_nothing_happens(registry, clock, tmp_path):
    three_versions(registry, "nobody", tmp_path)
    with pytest.raises(NotFound, match="no nobody version serves"):
        roll_back(registry, clock, "nobody", by="ada", reason="why not")
    with pytest.raises(NotFound, match="no version 9 of nobody; the newest are 3, 2, 1"):
        appoint(registry, clock, "nobody", "9", by="ada", reason="why not")
    with pytest.raises(InvalidInput, match="say why"):
        roll_back(registry, clock, "nobody", by="ada", reason="  ")
    with pytest.raises(InvalidInput, match="say who"):
        appoint(registry, clock, "nobody", "1", by="", reason="because")
    assert registry.decisions("nobody") == []
