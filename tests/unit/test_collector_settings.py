"""What is collected: the settings, changed at run time."""

from datetime import UTC, datetime, timedelta

import pytest

from finsight.adapters.state.redis_state import RedisStateStore
from finsight.domain.collector import CollectedSeries, Collector, NewsFeed
from finsight.domain.errors import InvalidInput, Misconfigured, NotFound
from finsight.domain.timeframe import Timeframe
from finsight.services.collector_settings import CollectorSettings

NOW = datetime(2025, 12, 13, 12, tzinfo=UTC)
BTC = CollectedSeries(exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.H1)
ETH = CollectedSeries(exchange="binance", symbol="ETH/USDT", timeframe=Timeframe.H1)
DECRYPT = NewsFeed(name="decrypt", url="https://decrypt.co/feed")


class StoppedClock:
    def now(self) -> datetime:
        return NOW


async def anything_goes(_: Collector) -> None:
    pass


@pytest.fixture
async def state(valkey_url: str):
    store = RedisStateStore(valkey_url)
    yield store
    await store.close()


def opened(state, check=anything_goes, series=(BTC,), feeds=(DECRYPT,)) -> CollectorSettings:
    """The same settings as a platform that has just started sees them."""
    return CollectorSettings(state, series, feeds, StoppedClock(), check)


async def ids(collectors: CollectorSettings) -> list[tuple[str, bool]]:
    return [(one.id, one.running) for one in await collectors.all()]


async def test_what_the_settings_name_runs(state) -> None:
    assert await ids(opened(state)) == [
        ("candles:binance:BTC-USDT:1h", True),
        ("news:decrypt", True),
    ]


async def test_what_was_added_stays_over_a_restart(state) -> None:
    added = await opened(state).set(Collector(candles=ETH))
    assert added == Collector(candles=ETH)
    assert ("candles:binance:ETH-USDT:1h", True) in await ids(opened(state))


async def test_what_was_stopped_stays_stopped_until_it_is_started(state) -> None:
    await opened(state).set(Collector(news=DECRYPT, running=False))
    assert ("news:decrypt", False) in await ids(opened(state))
    await opened(state).set(Collector(news=DECRYPT))
    assert ("news:decrypt", True) in await ids(opened(state))


async def test_what_was_changed_outweighs_the_settings(state) -> None:
    changed = DECRYPT.model_copy(update={"poll_s": 600.0})
    await opened(state).set(Collector(news=changed))
    assert Collector(news=changed) in await opened(state).all()


async def test_what_was_removed_stays_removed_though_the_settings_name_it(state) -> None:
    await opened(state).remove(BTC.id)
    assert await ids(opened(state)) == [("news:decrypt", True)]
    with pytest.raises(NotFound, match=BTC.id):
        await opened(state).remove(BTC.id)
    await opened(state).set(Collector(candles=BTC))
    assert (BTC.id, True) in await ids(opened(state))


async def test_what_was_added_and_removed_leaves_nothing_behind(state) -> None:
    await opened(state).set(Collector(candles=ETH))
    await opened(state).remove(ETH.id)
    assert await state.load_all("") == {}


async def test_what_could_never_be_collected_is_refused(state) -> None:
    tomorrow = BTC.model_copy(update={"since": NOW + timedelta(days=1)})
    with pytest.raises(InvalidInput, match="in the future"):
        await opened(state).set(Collector(candles=tomorrow))
    with pytest.raises(InvalidInput, match="needs a `query`"):
        await opened(state).set(Collector(news=NewsFeed(name="search", kind="tavily")))

    async def refuses(_: Collector) -> None:
        raise Misconfigured("there is no exchange nowhere")

    with pytest.raises(InvalidInput, match="there is no exchange nowhere"):
        await opened(state, refuses).set(Collector(candles=ETH))
    assert await state.load_all("") == {}


async def test_stopping_asks_nobody_whether_it_could_run(state) -> None:
    async def refuses(_: Collector) -> None:
        raise Misconfigured("the venue is away")

    await opened(state, refuses).set(Collector(candles=BTC, running=False))
    assert (BTC.id, False) in await ids(opened(state))


async def test_what_another_version_wrote_falls_back_to_the_settings(state) -> None:
    await state.save(f"collectors/{BTC.id}", {"candles": {"unheard": 1}})
    assert Collector(candles=BTC) in await opened(state).all()
