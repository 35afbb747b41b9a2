"""What every `ports.events.EventBus` does."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis import Redis

from finsight.adapters.events.redis_stream_records import EVENTS_KEY
from finsight.adapters.events.redis_streams import RedisStreamsBus
from finsight.domain.errors import InvalidInput, NotFound, StoreUnavailable
from finsight.domain.events import ArticleCollected, CandlesCollected, Event
from finsight.ports.events import MAX_ATTEMPTS, Delivery
from tests.builders import BTC_HOURLY, NOON

ARTICLES = ["ArticleCollected"]
CLAIM_AFTER = timedelta(milliseconds=200)


def an_event(number: int = 0) -> ArticleCollected:
    return ArticleCollected(
        happened_at=NOON, article_id=f"{number:032x}", title=f"ä {number}", source="example"
    )


def candles_event() -> CandlesCollected:
    return CandlesCollected(happened_at=NOON, series=BTC_HOURLY, count=1, first=NOON, last=NOON)


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(d.event.article_id, 16) for d in deliveries]  # type: ignore[union-attr]


@pytest.fixture
async def bus(valkey_url: str) -> AsyncIterator[RedisStreamsBus]:
    bus = RedisStreamsBus(valkey_url, claim_after=CLAIM_AFTER)
    yield bus
    await bus.close()


@pytest.fixture
async def other(valkey_url: str) -> AsyncIterator[RedisStreamsBus]:
    """The same bus, seen from another process."""
    bus = RedisStreamsBus(valkey_url, claim_after=CLAIM_AFTER)
    yield bus
    await bus.close()


async def receive(bus: RedisStreamsBus, group: str = "g", wait_s: float = 0) -> list[Delivery]:
    return await bus.receive(group, "c", ARTICLES, 100, wait_s)


async def fail_until_dead(bus: RedisStreamsBus, group: str = "g") -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        (delivery,) = await receive(bus, group, wait_s=5)
        assert delivery.attempt == attempt
        await bus.fail(group, delivery, f"failure {attempt}")


async def test_a_new_group_starts_at_the_oldest_event_and_keeps_the_order(
    bus: RedisStreamsBus,
) -> None:
    events: list[Event] = [an_event(n) for n in range(5)]
    ids = await bus.publish(events)
    deliveries = await receive(bus)
    assert [d.event for d in deliveries] == events
    assert [d.id for d in deliveries] == ids == sorted(ids)
    assert {d.attempt for d in deliveries} == {1}


async def test_publishing_nothing_is_harmless(bus: RedisStreamsBus) -> None:
    assert await bus.publish([]) == []


async def test_every_group_gets_every_event_and_one_consumer_of_it(
    bus: RedisStreamsBus, other: RedisStreamsBus
) -> None:
    await bus.publish([an_event(n) for n in range(10)])
    first = await bus.receive("g", "one", ARTICLES, 4, 0)
    second = await other.receive("g", "two", ARTICLES, 100, 0)
    assert numbers(first) == [0, 1, 2, 3]
    assert numbers(second) == [4, 5, 6, 7, 8, 9]
    assert numbers(await receive(bus, "another")) == list(range(10))


async def test_what_was_acknowledged_never_comes_back(
    bus: RedisStreamsBus, other: RedisStreamsBus
) -> None:
    await bus.publish([an_event()])
    (delivery,) = await receive(bus)
    await bus.acknowledge("g", [delivery.id])
    await bus.acknowledge("g", [delivery.id])
    await bus.acknowledge("g", [])
    await asyncio.sleep(0.3)
    assert await receive(other) == []


async def test_events_of_other_kinds_are_passed_over(bus: RedisStreamsBus) -> None:
    await bus.publish([candles_event(), an_event(1), candles_event()])
    assert numbers(await receive(bus)) == [1]
    await asyncio.sleep(0.3)
    assert {d.event.kind for d in await receive(bus)} == {"ArticleCollected"}


async def test_only_unwanted_events_do_not_end_the_wait(bus: RedisStreamsBus) -> None:
    await bus.publish([candles_event()])
    waiting = asyncio.create_task(receive(bus, wait_s=10))
    await asyncio.sleep(0.2)
    await bus.publish([candles_event(), an_event(7)])
    assert numbers(await waiting) == [7]


async def test_a_wait_ends_with_the_first_event_and_starves_no_other_call(
    bus: RedisStreamsBus,
) -> None:
    waiting = [asyncio.create_task(receive(bus, f"g{n}", wait_s=30)) for n in range(20)]
    await asyncio.sleep(0.2)
    await asyncio.wait_for(bus.ping(), 5)
    await bus.publish([an_event(3)])
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert [numbers(a) for a in answers] == [[3]] * 20


async def test_a_wait_without_events_ends_empty(bus: RedisStreamsBus) -> None:
    assert await receive(bus, wait_s=0.1) == []


async def test_what_a_dead_consumer_left_goes_to_another_after_a_while(
    bus: RedisStreamsBus, other: RedisStreamsBus
) -> None:
    await bus.publish([an_event(n) for n in range(3)])
    await bus.receive("g", "dies", ARTICLES, 2, 0)
    (last,) = await other.receive("g", "lives", ARTICLES, 100, 0)
    await other.acknowledge("g", [last.id])
    taken = await other.receive("g", "lives", ARTICLES, 100, 5)
    assert numbers(taken) == [0, 1]
    assert {d.attempt for d in taken} == {2}


async def test_a_consumer_that_comes_back_goes_on_with_its_own_at_once(valkey_url: str) -> None:
    patient = timedelta(minutes=10)
    killed = RedisStreamsBus(valkey_url, claim_after=patient)
    await killed.publish([an_event(1)])
    await receive(killed)
    after = RedisStreamsBus(valkey_url, claim_after=patient)
    taken = await receive(after)
    assert (numbers(taken), taken[0].attempt) == ([1], 2)
    assert await receive(after) == []  # once: it is this process's now
    await after.close()
    await killed.close()


async def test_closing_gives_back_what_was_not_handled_and_counts_no_attempt(
    valkey_url: str,
) -> None:
    for turn in range(2 * MAX_ATTEMPTS):
        bus = RedisStreamsBus(valkey_url, claim_after=timedelta(minutes=10))
        if turn == 0:
            await bus.publish([an_event(n) for n in range(3)])
        handled, failed, waiting = await receive(bus)
        assert {handled.attempt, failed.attempt, waiting.attempt} == {1}
        await bus.close()
    bus = RedisStreamsBus(valkey_url, claim_after=timedelta(minutes=10))
    handled, failed, _ = await receive(bus)
    await bus.acknowledge("g", [handled.id])
    await bus.fail("g", failed, "broken")
    await bus.close()
    other = RedisStreamsBus(valkey_url, claim_after=timedelta(minutes=10))
    given_back = await other.receive("g", "another", ARTICLES, 100, 0)
    assert [(d.id, d.attempt) for d in given_back] == [(waiting.id, 1)]
    await other.close()


async def test_what_another_consumer_took_over_is_not_given_back_by_the_first(
    bus: RedisStreamsBus, other: RedisStreamsBus
) -> None:
    await bus.publish([an_event(1)])
    await bus.receive("g", "slow", ARTICLES, 1, 0)
    (taken,) = await other.receive("g", "quick", ARTICLES, 1, 5)
    await bus.close()
    assert await other.receive("g", "quick", ARTICLES, 1, 0) == []
    await other.acknowledge("g", [taken.id])


async def test_two_consumers_never_claim_the_same_delivery(
    bus: RedisStreamsBus, other: RedisStreamsBus
) -> None:
    await bus.publish([an_event(n) for n in range(50)])
    await bus.receive("g", "dies", ARTICLES, 100, 0)
    await asyncio.sleep(0.3)
    taken = await asyncio.gather(
        bus.receive("g", "a", ARTICLES, 100, 0), other.receive("g", "b", ARTICLES, 100, 0)
    )
    assert sorted(n for part in taken for n in numbers(part)) == list(range(50))


async def test_a_failed_event_comes_back_after_a_pause(valkey_url: str) -> None:
    bus = RedisStreamsBus(valkey_url, claim_after=timedelta(minutes=10))
    await bus.publish([an_event(1)])
    (delivery,) = await receive(bus)
    failed = time.monotonic()
    await bus.fail("g", delivery, "the model is away")
    assert await receive(bus) == []
    (again,) = await receive(bus, wait_s=10)
    assert time.monotonic() - failed >= 0.9
    assert (again.event, again.attempt) == (delivery.event, 2)
    await bus.close()


async def test_an_event_put_off_comes_again_untried_and_holds_up_no_other(
    valkey_url: str,
) -> None:
    bus = RedisStreamsBus(valkey_url)
    await bus.publish([an_event(1)])
    for _ in range(MAX_ATTEMPTS + 1):
        (delivery,) = await receive(bus, wait_s=5)
        assert (delivery.event, delivery.attempt) == (an_event(1), 1)
        put_off = time.monotonic()
        await bus.put_off("g", delivery, 0.3)
    await bus.publish([an_event(2)])
    assert numbers(await receive(bus)) == [2]
    assert numbers(await receive(bus, wait_s=5)) == [1]
    assert time.monotonic() - put_off >= 0.25
    assert await bus.count_dead_letters() == 0
    await bus.close()


async def test_an_event_failed_too_often_becomes_a_dead_letter_of_its_group(
    bus: RedisStreamsBus,
) -> None:
    await bus.publish([an_event(1)])
    await fail_until_dead(bus)
    await asyncio.sleep(0.3)
    assert await receive(bus) == []
    (letter,) = await bus.dead_letters()
    assert (letter.group, letter.error) == ("g", f"failure {MAX_ATTEMPTS}")
    assert ArticleCollected.model_validate_json(letter.event_json) == an_event(1)
    assert await bus.count_dead_letters() == 1
    assert numbers(await receive(bus, "another")) == [1]


async def test_an_event_that_kills_its_consumers_becomes_a_dead_letter(
    bus: RedisStreamsBus,
) -> None:
    await bus.publish([an_event(1)])
    for _ in range(MAX_ATTEMPTS):
        assert numbers(await receive(bus, wait_s=5)) == [1]
    await asyncio.sleep(0.3)
    assert await receive(bus) == []
    (letter,) = await bus.dead_letters()
    assert "not handled in 5 attempts" in letter.error


async def test_a_dead_letter_sent_again_reaches_its_group_alone(bus: RedisStreamsBus) -> None:
    await bus.publish([an_event(1)])
    assert numbers(await receive(bus, "another")) == [1]
    await fail_until_dead(bus)
    (letter,) = await bus.dead_letters()
    new_id = await bus.resend(letter.id)
    (delivery,) = await receive(bus)
    assert (delivery.id, delivery.event, delivery.attempt) == (new_id, an_event(1), 1)
    assert await bus.count_dead_letters() == 0
    await asyncio.sleep(0.3)
    assert [d.id for d in await receive(bus, "another")] != [new_id]
    assert await receive(bus, "a new one") != []  # the original
    with pytest.raises(NotFound):
        await bus.resend(letter.id)
    with pytest.raises(NotFound):
        await bus.resend("not an id")


@pytest.mark.parametrize(
    "fields",
    [
        {"event": b'{"kind": "ArticleCollected"}'},
        {"event": b'{"kind": "Unheard", "happened_at": "2024-01-01T00:00:00Z"}'},
        {"event": b"\xff\xfe not text"},
        {"something": b"else"},
    ],
    ids=["incomplete", "unknown kind", "not UTF-8", "no event"],
)
async def test_an_unreadable_event_is_set_aside_and_blocks_nothing(
    bus: RedisStreamsBus, valkey_url: str, fields: dict[str, bytes]
) -> None:
    with Redis.from_url(valkey_url) as raw:
        raw.xadd(EVENTS_KEY, dict(fields))
    await bus.publish([an_event(2)])
    assert numbers(await receive(bus)) == [2]
    (letter,) = await bus.dead_letters()
    assert "read" in letter.error or "no event" in letter.error


async def test_dead_letters_are_listed_newest_first(bus: RedisStreamsBus, valkey_url: str) -> None:
    with Redis.from_url(valkey_url) as raw:
        for n in range(3):
            raw.xadd(EVENTS_KEY, {"event": str(n)})
    await receive(bus)
    assert [letter.event_json for letter in await bus.dead_letters(2)] == ["2", "1"]


async def test_trimming_keeps_what_any_group_still_needs(valkey_url: str) -> None:
    bus = RedisStreamsBus(valkey_url, claim_after=CLAIM_AFTER, keep_events=10)
    await bus.publish([an_event(n) for n in range(5)])
    held = await receive(bus, "slow")
    await bus.acknowledge("slow", [d.id for d in held[2:]])
    fast = await receive(bus, "fast")
    await bus.acknowledge("fast", [d.id for d in fast])
    for start in range(5, 105, 10):
        await bus.publish([an_event(n) for n in range(start, start + 10)])
    with Redis.from_url(valkey_url) as raw:
        # "slow" holds events 0 and 1, so nothing at all may go.
        assert raw.xlen(EVENTS_KEY) == 105
        rest = await receive(bus, "fast")
        await bus.acknowledge("fast", [d.id for d in rest])
        await bus.acknowledge("slow", [d.id for d in held])
        await bus.publish([an_event(n) for n in range(105, 115)])
        # "slow" was last given event 4; everything after it is still new to it.
        assert raw.xlen(EVENTS_KEY) == 111
        late = await receive(bus, "slow") + await receive(bus, "slow")
        assert numbers(late) == list(range(5, 115))
        await bus.acknowledge("slow", [d.id for d in late])
        await bus.acknowledge("fast", [d.id for d in await receive(bus, "fast")])
        await bus.publish([an_event(n) for n in range(115, 125)])
        assert raw.xlen(EVENTS_KEY) <= 20
    assert numbers(await receive(bus, "fast")) == list(range(115, 125))
    await bus.close()


async def test_a_stream_without_groups_is_trimmed_to_what_is_kept(valkey_url: str) -> None:
    bus = RedisStreamsBus(valkey_url, keep_events=10)
    for start in range(0, 100, 10):
        await bus.publish([an_event(n) for n in range(start, start + 10)])
    assert numbers(await receive(bus)) == list(range(90, 100))
    await bus.close()


async def test_following_starts_now_or_after_an_id(bus: RedisStreamsBus) -> None:
    ids = await bus.publish([an_event(0), candles_event()])
    from_now = bus.follow(None)
    first = asyncio.ensure_future(anext(from_now))
    await asyncio.sleep(0.3)
    (new_id,) = await bus.publish([an_event(9)])
    assert await asyncio.wait_for(first, 5) == (new_id, an_event(9))
    resumed = bus.follow(ids[0])
    assert [await anext(resumed), await anext(resumed)] == [
        (ids[1], candles_event()),
        (new_id, an_event(9)),
    ]
    with pytest.raises(InvalidInput, match="not the id"):
        await anext(bus.follow("yesterday"))


async def test_following_beats_when_nothing_happens(
    bus: RedisStreamsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finsight.adapters.events.redis_streams._HEARTBEAT_S", 0.1)
    assert await asyncio.wait_for(anext(bus.follow(None)), 10) is None


async def test_followers_do_not_see_what_was_sent_again(
    bus: RedisStreamsBus, valkey_url: str
) -> None:
    await bus.publish([an_event(1)])
    await fail_until_dead(bus)
    (letter,) = await bus.dead_letters()
    await bus.resend(letter.id)
    await bus.publish([an_event(2)])
    following = bus.follow("0-0")
    assert [(await anext(following))[1] for _ in range(2)] == [an_event(1), an_event(2)]  # type: ignore[index]


async def test_a_server_that_is_not_there_is_said_plainly() -> None:
    bus = RedisStreamsBus("redis://:secret@127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match="can't be reached"):
        await bus.publish([an_event()])
    with pytest.raises(StoreUnavailable):
        await receive(bus)
    with pytest.raises(StoreUnavailable):
        await bus.ping()
    with pytest.raises(StoreUnavailable):
        await anext(bus.follow(None))
    await bus.close()
