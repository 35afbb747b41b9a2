"""What every forecast store promises."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from finsight.adapters.models.sqlite_forecasts import SqliteForecastStore
from finsight.domain.candle import Series
from finsight.domain.errors import NotFound, StoreUnavailable
from finsight.domain.forecast import Forecast
from finsight.ports.forecasts import ForecastStore
from tests.builders import BTC_HOURLY, ETH_HOURLY, HOUR, NOON
from tests.unit.test_accuracy import a_forecast, an_error

STORES = {"sqlite": lambda folder: SqliteForecastStore(folder / "new" / "forecasts.sqlite")}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ForecastStore:
    return STORES[request.param](tmp_path)


def forecast(
    name: str, origin: datetime = NOON, series: Series = BTC_HOURLY, horizon: int = 2
) -> Forecast:
    made = a_forecast([101.0] * horizon, id=name, series=series, origin=origin)
    moved = [
        step.model_copy(update={"opened_at": step.opened_at + (origin - NOON)})
        for step in made.steps
    ]
    return made.model_copy(update={"steps": tuple(moved), "made_at": origin + HOUR})


async def test_gives_back_what_was_saved(store: ForecastStore) -> None:
    await store.save([forecast("a"), forecast("b")])
    found = await store.get("a")
    assert (found.forecast, found.error) == (forecast("a"), None)


async def test_a_forecast_saved_again_stays_as_it_was(store: ForecastStore) -> None:
    await store.save([forecast("a")])
    await store.save([forecast("a", origin=NOON + HOUR)])
    assert (await store.get("a")).forecast.origin == NOON


async def test_an_unknown_forecast_is_not_found(store: ForecastStore) -> None:
    with pytest.raises(NotFound, match="no forecast x"):
        await store.get("x")


async def test_due_are_the_unscored_whose_last_candle_opened_before(store: ForecastStore) -> None:
    # Two candles after NOON: the last opens at 14:00.
    await store.save([forecast("a"), forecast("b", NOON + HOUR), forecast("e", NOON, ETH_HOURLY)])
    two = NOON + 2 * HOUR
    assert await store.due(BTC_HOURLY, two, 10) == []
    assert [f.id for f in await store.due(BTC_HOURLY, two + HOUR, 10)] == ["a"]
    assert [f.id for f in await store.due(BTC_HOURLY, two + 2 * HOUR, 10)] == ["a", "b"]
    assert [f.id for f in await store.due(BTC_HOURLY, two + 2 * HOUR, 1)] == ["a"]
    await store.save_errors([an_error(forecast_id="a")])
    assert [f.id for f in await store.due(BTC_HOURLY, two + 2 * HOUR, 10)] == ["b"]


async def test_a_forecast_keeps_its_first_outcome(store: ForecastStore) -> None:
    await store.save([forecast("a")])
    await store.save_errors([an_error(forecast_id="a", mae=1.0), an_error(forecast_id="lost")])
    await store.save_errors([an_error(forecast_id="a", mae=9.0)])
    found = await store.get("a")
    assert found.error is not None
    assert found.error.mae == 1.0
    assert [e.mae for e in await store.errors(None, None)] == [1.0]


async def test_latest_and_recent_go_by_origin_newest_first(store: ForecastStore) -> None:
    await store.save(
        [forecast("b", NOON + HOUR), forecast("a"), forecast("e", NOON + 3 * HOUR, ETH_HOURLY)]
    )
    latest = await store.latest(BTC_HOURLY)
    assert latest is not None
    assert latest.id == "b"
    assert [s.forecast.id for s in await store.recent(None, 10)] == ["e", "b", "a"]
    assert [s.forecast.id for s in await store.recent(BTC_HOURLY, 1)] == ["b"]
    nothing = BTC_HOURLY.model_copy(update={"exchange": "kraken"})
    assert await store.latest(nothing) is None


async def test_outcomes_come_oldest_first_from_a_moment_on(store: ForecastStore) -> None:
    origins = {"c": NOON + 2 * HOUR, "a": NOON, "b": NOON + HOUR}
    await store.save([forecast(name, origin) for name, origin in origins.items()])
    await store.save_errors(
        [an_error(forecast_id=name, origin=origin) for name, origin in origins.items()]
    )
    found = await store.errors(BTC_HOURLY, NOON + HOUR)
    assert [e.forecast_id for e in found] == ["b", "c"]
    assert [e.forecast_id for e in await store.errors(None, None)] == ["a", "b", "c"]
    assert await store.errors(ETH_HOURLY, NOON - timedelta(days=1)) == []


async def test_what_was_saved_is_there_for_another_process(
    store: ForecastStore, tmp_path: Path
) -> None:
    await store.save([forecast("a")])
    assert (await STORES["sqlite"](tmp_path).get("a")).forecast.id == "a"


async def test_a_file_that_is_no_database_is_a_store_that_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "f.sqlite").write_text("not a database at all, but a long enough text")
    with pytest.raises(StoreUnavailable, match="can't be used"):
        await SqliteForecastStore(tmp_path / "f.sqlite").recent(None, 1)
