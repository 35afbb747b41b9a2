"""Following an alias, and giving the challenger its share: what goes wrong hurts no answer."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from finsight.deployments import canary, champion_following
from finsight.deployments.canary import Canary, takes
from finsight.deployments.champion_following import AliasFollowing
from finsight.domain.errors import ModelUnavailable, StoreUnavailable
from finsight.domain.promotion import PromotionDecision, Verdict
from finsight.ports.models import ModelReference

MADE = datetime(2024, 1, 1, tzinfo=UTC)


def a_version(number: int) -> ModelReference:
    return ModelReference("sentiment", str(number), f"/models/{number}", MADE)


@dataclass
class ARegistry:
    """Names one version, or does not answer."""

    named: int | None = 1
    down: bool = False
    decided: list[PromotionDecision] = field(default_factory=list)

    def holder(self, kind: str, alias: str) -> ModelReference | None:
        if self.down:
            raise StoreUnavailable("the registry is down")
        return a_version(self.named) if self.named else None

    def decisions(self, kind: str | None = None, limit: int = 50) -> list[PromotionDecision]:
        return self.decided

    def versions(self, kind: str | None = None) -> list[ModelReference]:
        return [a_version(number) for number in (3, 2, 1)]


@dataclass
class Reader:
    """Reads a version as its number; those of `broken` raise what a broken file might."""

    broken: set[str] = field(default_factory=set)
    read: list[str] = field(default_factory=list)

    def __call__(self, reference: ModelReference) -> str:
        self.read.append(reference.version)
        if reference.version in self.broken:
            raise ZeroDivisionError("nobody knows why")
        return reference.version


def following(registry: ARegistry, reader: Reader) -> AliasFollowing[str]:
    return AliasFollowing("sentiment", registry, reader)  # type: ignore[arg-type]


async def test_another_version_takes_over_once_and_is_read_once() -> None:
    registry, reader = ARegistry(), Reader()
    champion = following(registry, reader)
    assert await champion.look()
    assert not await champion.look()
    registry.named = 2
    assert await champion.look()
    assert (champion.model, reader.read) == ("2", ["1", "2"])


async def test_a_registry_that_is_down_leaves_what_serves() -> None:
    registry = ARegistry()
    champion = following(registry, Reader())
    await champion.look()
    registry.down = True
    assert not await champion.look()
    assert (champion.model, champion.trouble) == ("1", "the registry is down")
    registry.down = False
    await champion.look()
    assert champion.trouble == ""


async def test_a_broken_version_leaves_the_old_one_and_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(champion_following, "_FIRST_PAUSE_S", 0.0)
    registry, reader = ARegistry(), Reader(broken={"2"})
    champion = following(registry, reader)
    await champion.look()
    registry.named = 2
    for _ in range(3):
        assert not await champion.look()
    assert champion.model == "1"
    assert champion.trouble == "version 2 can't be loaded, version 1 stays: nobody knows why"
    assert [record.message for record in caplog.records].count(
        f"champion of sentiment: {champion.trouble}"
    ) == 1
    reader.broken.clear()
    assert await champion.look()
    assert (champion.model, champion.trouble) == ("2", "")


async def test_a_broken_version_is_not_read_at_every_look() -> None:
    registry, reader = ARegistry(named=2), Reader(broken={"2"})
    champion = following(registry, reader)
    for _ in range(4):
        await champion.look()
    assert reader.read == ["2"]
    assert champion.model is None
    assert "nobody knows why" in champion.absence


async def test_where_nothing_serves_yet_the_predecessor_stands_in_for_a_broken_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(champion_following, "_FIRST_PAUSE_S", 0.0)
    decision = PromotionDecision(
        kind="sentiment",
        verdict=Verdict.PROMOTED,
        version="3",
        before="2",
        by="ada",
        reason="better",
        decided_at=MADE,
    )
    registry, reader = ARegistry(named=3, decided=[decision]), Reader(broken={"3"})
    champion = following(registry, reader)
    assert await champion.look()
    assert champion.model == "2"
    assert champion.trouble == "version 3 can't be loaded, version 2 stays: nobody knows why"
    reader.broken.clear()
    assert await champion.look()
    assert (champion.model, champion.trouble) == ("3", "")


async def test_an_alias_that_is_taken_away_takes_the_model_with_it() -> None:
    registry = ARegistry()
    champion = following(registry, Reader())
    await champion.look()
    registry.named = None
    assert await champion.look()
    assert champion.model is None


async def a_canary(monkeypatch: pytest.MonkeyPatch, rest_s: float = 0.0) -> Canary[str]:
    monkeypatch.setattr(canary, "_REST_S", rest_s)
    challenger = following(ARegistry(), Reader())
    await challenger.look()
    return Canary(challenger, within_s=0.2)


def slow(model: str) -> str:
    time.sleep(0.6)
    return model


def fails(model: str) -> str:
    raise ModelUnavailable("not today")


async def test_a_challenger_that_fails_or_is_slow_leaves_the_answer_to_the_champion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    challenger = await a_canary(monkeypatch)
    assert await challenger.answer(str) == "1"
    assert await challenger.answer(fails) is None
    started = time.monotonic()
    assert await challenger.answer(slow) is None
    assert time.monotonic() - started < 0.5


async def test_one_that_failed_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    challenger = await a_canary(monkeypatch, rest_s=60.0)
    assert await challenger.answer(fails) is None
    assert await challenger.answer(str) is None


def test_the_share_is_drawn_by_the_question_and_is_what_was_asked_for() -> None:
    questions = [f"question {number}".encode() for number in range(4000)]
    drawn = [takes(0.2, question) for question in questions]
    assert drawn == [takes(0.2, question) for question in questions]
    assert 0.17 < sum(drawn) / len(drawn) < 0.23
    assert not any(takes(0.0, question) for question in questions)
    assert all(takes(1.0, question) for question in questions)
    # Who was drawn at a smaller share is drawn at a larger one.
    assert all(takes(0.4, question) for question, was in zip(questions, drawn, strict=True) if was)
