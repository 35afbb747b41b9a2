"""What every `ports.state.StateStore` does."""

from collections.abc import AsyncIterator

import pytest

from finsight.adapters.state.redis_state import RedisStateStore
from finsight.domain.errors import Misconfigured, StoreUnavailable
from finsight.ports.state import StateStore


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[StateStore]:
    store = RedisStateStore(valkey_url)
    yield store
    await store.close()


async def test_a_document_comes_back_as_it_was_saved(store: StateStore) -> None:
    document = {"etag": 'W/"ä"', "polls": 3, "nested": {"none": None, "list": [1.5, True]}}
    await store.save("feeds/coindesk", document)
    assert await store.load("feeds/coindesk") == document


async def test_saving_replaces_the_whole_document(store: StateStore) -> None:
    await store.save("a", {"old": 1, "kept": 1})
    await store.save("a", {"new": 2})
    assert await store.load("a") == {"new": 2}


async def test_what_was_never_saved_is_none(store: StateStore) -> None:
    assert await store.load("nothing") is None
    assert await store.load_all("nothing") == {}


async def test_deleting_forgets_and_may_be_done_twice(store: StateStore) -> None:
    await store.save("a", {"x": 1})
    await store.delete("a")
    await store.delete("a")
    assert await store.load("a") is None


async def test_load_all_takes_the_prefix_literally_and_sorts(store: StateStore) -> None:
    for key in ("collectors/b", "collectors/a", "collectors", "coll*/c", "other/a"):
        await store.save(key, {"key": key})
    found = await store.load_all("collectors/")
    assert list(found) == ["collectors/a", "collectors/b"]
    assert found["collectors/a"] == {"key": "collectors/a"}
    assert list(await store.load_all("coll*/")) == ["coll*/c"]


async def test_another_client_sees_what_was_saved(store: StateStore, valkey_url: str) -> None:
    await store.save("a", {"x": 1})
    other = RedisStateStore(valkey_url)
    assert await other.load("a") == {"x": 1}
    await other.close()


async def test_a_server_that_is_not_there_is_said_plainly() -> None:
    store = RedisStateStore("redis://:secret@127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match="can't be reached") as caught:
        await store.load("a")
    assert "secret" not in str(caught.value)
    await store.close()


async def test_a_wrong_password_is_said_plainly(valkey_url: str) -> None:
    store = RedisStateStore("redis://:wrong@" + valkey_url.split("@")[1])
    with pytest.raises(StoreUnavailable, match="refused our password"):
        await store.load("a")
    await store.close()


def test_an_address_of_another_kind_is_refused_at_once() -> None:
    with pytest.raises(Misconfigured, match="redis://"):
        RedisStateStore("http://example.com")
