"""Making forecasts from real stores: what is seen, what is said, what is remembered."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from finsight.domain.candle_table import CandleTable, merge
from finsight.domain.errors import InvalidInput, NotFound
from finsight.domain.events import Event
from finsight.domain.forecast import Basis
from finsight.ports.forecasts import ForecastStore
from finsight.ports.market import CandleStore
from finsight.ports.models import ForecastInput, ServedForecast
from finsight.ports.news import ArticleStore
from finsight.services.forecast_scoring import ForecastScoring
from finsight.services.forecasting import Forecasting
from finsight.services.walk_forward import held_out_origins, walk_forward
from finsight.settings import Settings
from finsight.wiring import (
    naive_forecaster,
    open_article_store,
    open_candle_store,
    open_forecast_store,
)
from tests.builders import (
    BTC_HOURLY,
    ETH_HOURLY,
    HOUR,
    NOON,
    a_score,
    a_sentiment,
    a_walk,
    an_article,
)

ROWS = 300
NOW = NOON + ROWS * HOUR + timedelta(minutes=5)
NEWEST = NOON + (ROWS - 1) * HOUR


@dataclass
class StoppedClock:
    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


@dataclass
class NaiveService:
    """The naive forecaster as a service; remembers what it was shown."""

    seen: list[ForecastInput] = field(default_factory=list)

    async def forecast(self, request: ForecastInput) -> ServedForecast:
        self.seen.append(request)
        [path] = naive_forecaster().forecast([request])
        return ServedForecast(path, path, "naive", "1", Basis.NAIVE, "naive: for a test")


@dataclass
class Announcements:
    """Only what forecasting uses of an event bus."""

    events: list[Event] = field(default_factory=list)

    async def publish(self, events: list[Event]) -> list[str]:
        self.events += events
        return ["1"] * len(events)


@dataclass
class Place:
    candles: CandleStore
    articles: ArticleStore
    forecasts: ForecastStore
    service: NaiveService
    bus: Announcements
    clock: StoppedClock

    @property
    def forecasting(self) -> Forecasting:
        bus: object = self.bus
        return Forecasting(
            self.candles,
            self.articles,
            self.forecasts,
            bus,
            self.service,
            self.clock,  # type: ignore[arg-type]
        )

    @property
    def scoring(self) -> ForecastScoring:
        return ForecastScoring(self.candles, self.forecasts, self.clock)


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    settings = Settings(data_dir=tmp_path)
    place = Place(
        open_candle_store(settings),
        open_article_store(settings),
        open_forecast_store(settings),
        NaiveService(),
        Announcements(),
        StoppedClock(),
    )
    await place.candles.upsert(BTC_HOURLY, a_walk(ROWS))
    return place


async def test_a_forecast_continues_the_newest_closed_candle_and_is_remembered(
    place: Place,
) -> None:
    answer = await place.forecasting.forecast(BTC_HOURLY, 3)
    forecast = answer.forecast
    assert forecast.origin == NEWEST
    assert [step.opened_at for step in forecast.steps] == [NEWEST + k * HOUR for k in (1, 2, 3)]
    assert forecast.last_close == a_walk(ROWS).column("close")[-1]
    assert forecast.made_at == NOW
    assert answer.candles.last_opened_at == NEWEST
    assert answer.notes == ()
    assert (await place.forecasts.get(forecast.id)).forecast == forecast
    [event] = place.bus.events
    assert event.kind == "ForecastMade"
    assert (event.forecast_id, event.horizon) == (forecast.id, 3)


async def test_asked_twice_it_is_one_forecast(place: Place) -> None:
    first = await place.forecasting.forecast(BTC_HOURLY, 3)
    place.clock.moment += timedelta(minutes=10)
    second = await place.forecasting.forecast(BTC_HOURLY, 3)
    assert second.forecast == first.forecast
    assert len(await place.forecasts.recent(None, 10)) == 1


async def test_the_candle_being_formed_is_not_seen(place: Place) -> None:
    place.clock.moment = NOON + 250 * HOUR + timedelta(minutes=59)
    answer = await place.forecasting.forecast(BTC_HOURLY, 3)
    assert answer.forecast.origin == NOON + 249 * HOUR
    assert place.service.seen[0].closes[-1] == a_walk(ROWS).column("close")[249]


async def test_as_of_a_past_moment_later_candles_change_nothing(place: Place) -> None:
    origin = NOON + 200 * HOUR
    before = await place.forecasting.forecast(BTC_HOURLY, 6, origin=origin)
    other_future = merge(a_walk(ROWS), CandleTable(a_walk(ROWS, seed=8).arrow.slice(201)))
    await place.candles.upsert(BTC_HOURLY, other_future)
    after = await place.forecasting.forecast(BTC_HOURLY, 6, origin=origin)
    assert before.forecast.origin == origin
    assert np.array_equal(place.service.seen[0].closes, place.service.seen[1].closes)
    assert after.forecast.steps == before.forecast.steps
    assert after.candles == before.candles


async def test_old_data_is_announced(place: Place) -> None:
    place.clock.moment = NOW + 5 * HOUR
    answer = await place.forecasting.forecast(BTC_HOURLY, 3)
    assert answer.forecast.origin == NEWEST
    assert "the data is old" in answer.forecast.reason
    assert "5 candles ago" in answer.notes[0]


async def test_a_few_missing_candles_are_read_across_and_said(place: Place) -> None:
    holed = merge(
        CandleTable(a_walk(ROWS).arrow.slice(0, 250)), CandleTable(a_walk(ROWS).arrow.slice(252))
    )
    await place.candles.upsert(ETH_HOURLY, holed)
    answer = await place.forecasting.forecast(ETH_HOURLY, 3)
    assert answer.notes == ("2 of the last 170 candles are missing",)
    assert len(place.service.seen[0].closes) == 298


async def test_over_a_long_gap_only_what_came_after_is_used(place: Place) -> None:
    holed = merge(
        CandleTable(a_walk(ROWS).arrow.slice(0, 200)), CandleTable(a_walk(ROWS).arrow.slice(250))
    )
    await place.candles.upsert(ETH_HOURLY, holed)
    answer = await place.forecasting.forecast(ETH_HOURLY, 3)
    assert len(place.service.seen[0].closes) == 50
    assert "50 candles are missing" in answer.forecast.reason


async def test_an_unknown_series_says_what_is_stored_and_how_to_collect(place: Place) -> None:
    with pytest.raises(NotFound, match=r"stored: binance BTC/USDT 1h.*finsight backfill"):
        await place.forecasting.forecast(ETH_HOURLY, 3)


async def test_a_horizon_or_origin_out_of_bounds_is_refused(place: Place) -> None:
    for horizon in (0, 721):
        with pytest.raises(InvalidInput, match="horizon must be 1 to 720"):
            await place.forecasting.forecast(BTC_HOURLY, horizon)
    with pytest.raises(InvalidInput, match="has not closed yet"):
        await place.forecasting.forecast(BTC_HOURLY, 3, origin=NEWEST + HOUR)
    with pytest.raises(InvalidInput, match="is stored from"):
        await place.forecasting.forecast(BTC_HOURLY, 3, origin=NOON - HOUR)
    with pytest.raises(InvalidInput, match="has 11 usable candles"):
        await place.forecasting.forecast(BTC_HOURLY, 3, origin=NOON + 10 * HOUR)


async def test_the_trend_of_the_base_currency_comes_with_it(place: Place) -> None:
    article = an_article(published_at=NEWEST - HOUR, first_seen_at=NEWEST)
    await place.articles.add([article])
    await place.articles.save_scores([a_score(article, sentiment=a_sentiment())])
    answer = await place.forecasting.forecast(BTC_HOURLY, 3)
    assert sum(point.articles for point in answer.trend) == 1
    assert [point.score for point in answer.trend if point.articles] == [pytest.approx(0.6)]


async def test_a_forecast_is_scored_when_its_candles_have_closed_and_once(place: Place) -> None:
    origin = NEWEST - 3 * HOUR
    made = await place.forecasting.forecast(BTC_HOURLY, 3, origin=origin)
    await place.forecasting.forecast(BTC_HOURLY, 3)  # its candles are still to come
    [error] = await place.scoring.score_due(BTC_HOURLY)
    closes = a_walk(ROWS).column("close")
    assert error.forecast_id == made.forecast.id
    assert error.mae == pytest.approx(np.abs(closes[-3:] - closes[-4]).mean())
    scale = np.abs(np.diff(closes[-4 - 168 : -3])).mean()
    assert error.mase == pytest.approx(error.mae / scale, rel=0.01)
    assert await place.scoring.score_due(BTC_HOURLY) == []
    [record] = await place.scoring.record()
    assert (record.forecasts, record.candles, record.ratio_to_naive) == (1, 3, 1.0)


async def test_a_forecast_waits_for_a_missing_last_candle_and_not_for_ever(place: Place) -> None:
    holed = CandleTable(a_walk(ROWS).arrow.slice(0, ROWS - 1))
    await place.candles.upsert(ETH_HOURLY, holed)
    await place.forecasting.forecast(ETH_HOURLY, 3, origin=NEWEST - 3 * HOUR)
    assert await place.scoring.score_due(ETH_HOURLY) == []
    place.clock.moment += timedelta(days=3)
    [error] = await place.scoring.score_due(ETH_HOURLY)
    assert error.candles == 2


def test_held_out_origins_begin_at_the_cut_and_share_no_candle() -> None:
    cut, now = NOON + 100 * HOUR, NOON + 160 * HOUR
    origins = held_out_origins(BTC_HOURLY.timeframe, cut, now, horizon=24, most=12)
    assert origins == [cut - HOUR, cut + 23 * HOUR]
    assert held_out_origins(BTC_HOURLY.timeframe, cut, cut + 24 * HOUR, 24, 12) == [cut - HOUR]
    assert held_out_origins(BTC_HOURLY.timeframe, cut, cut + 23 * HOUR, 24, 12) == []
    many = held_out_origins(BTC_HOURLY.timeframe, NOON, NOW, horizon=6, most=5)
    assert len(many) == 5


async def test_walking_forward_leaves_a_scored_record_and_says_what_it_is(place: Place) -> None:
    cut = NOON + 200 * HOUR
    errors = await walk_forward(BTC_HOURLY, cut, NOW, 24, place.forecasting, place.scoring)
    assert [e.origin for e in errors] == [cut - HOUR + k * 24 * HOUR for k in range(4)]
    [first, *_] = await place.forecasts.recent(BTC_HOURLY, 10)
    assert "walk-forward over the held-out part" in first.forecast.reason
    assert first.forecast.made_at == NOW


async def test_a_walk_cut_short_is_completed_from_the_same_origins_later(place: Place) -> None:
    cut = NOON + 200 * HOUR
    await place.forecasting.forecast(BTC_HOURLY, 24, origin=cut - HOUR)
    [first] = await place.scoring.score_due(BTC_HOURLY)
    place.clock.moment += 30 * HOUR
    walk = (BTC_HOURLY, cut, NOW, 24, place.forecasting, place.scoring)
    rest = await walk_forward(*walk, had={first.origin})
    assert [e.origin for e in rest] == [cut - HOUR + k * 24 * HOUR for k in (1, 2, 3)]
    assert await walk_forward(*walk, had={e.origin for e in [first, *rest]}) == []
    assert len(await place.forecasts.recent(BTC_HOURLY, 10)) == 4
