"""Short candles into longer ones."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.interval import Interval
from finsight.domain.resampling import can_resample, resample
from finsight.domain.timeframe import Timeframe, from_ms
from tests.builders import HOUR, NOON, a_walk, candles_at

MINUTE = timedelta(minutes=1)


def test_a_longer_candle_spans_its_sources() -> None:
    minutes = a_walk(60, NOON, Timeframe.M1)
    [hour] = resample(minutes, Timeframe.M1, Timeframe.H1).candles
    sources = list(minutes)
    assert hour.opened_at == NOON
    assert (hour.open, hour.close) == (sources[0].open, sources[-1].close)
    assert hour.high == max(c.high for c in sources)
    assert hour.low == min(c.low for c in sources)
    assert hour.volume == pytest.approx(sum(c.volume for c in sources))


def test_a_bucket_that_lacks_candles_is_marked_and_not_filled() -> None:
    minutes = candles_at(*(NOON + n * MINUTE for n in (0, 1, 2, 4, 5, 6, 7, 8, 9)))
    found = resample(minutes, Timeframe.M1, Timeframe.M5)
    assert found.present.tolist() == [4, 5]
    assert found.expected.tolist() == [5, 5]
    assert found.complete.tolist() == [False, True]
    assert found.only_complete().first_opened_at == NOON + 5 * MINUTE


def test_a_bucket_without_any_candle_is_left_out() -> None:
    found = resample(candles_at(NOON, NOON + 2 * HOUR), Timeframe.M30, Timeframe.H1)
    assert [c.opened_at for c in found.candles] == [NOON, NOON + 2 * HOUR]


def test_minutes_without_trades_do_not_make_a_bucket_incomplete() -> None:
    minutes = candles_at(NOON, NOON + 3 * MINUTE, NOON + 7 * MINUTE)
    covered = [Interval(NOON, NOON + 6 * MINUTE)]
    found = resample(minutes, Timeframe.M1, Timeframe.M5, covered)
    assert found.present.tolist() == [2, 1]
    assert found.complete.tolist() == [True, False]


def test_one_gap_can_spoil_two_neighbours_and_no_third() -> None:
    minutes = candles_at(*(NOON + n * MINUTE for n in [*range(3), *range(8, 15)]))
    found = resample(minutes, Timeframe.M1, Timeframe.M5)
    assert found.complete.tolist() == [False, False, True]


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    days = a_walk(60, datetime(2024, 1, 1, tzinfo=UTC), Timeframe.D1)
    weeks = resample(days, Timeframe.D1, Timeframe.W1)
    assert all(c.opened_at.weekday() == 0 for c in weeks.candles)
    assert weeks.complete.tolist() == [True] * 8 + [False]
    months = resample(days, Timeframe.D1, Timeframe.MONTH)
    assert [c.opened_at.month for c in months.candles] == [1, 2]
    assert months.expected.tolist() == [31, 29]
    assert months.complete.all()


@pytest.mark.parametrize(
    ("source", "target"),
    [("1h", "1h"), ("1h", "30m"), ("10m", "15m"), ("1w", "1M"), ("1M", "1w"), ("4h", "6h")],
)
def test_timeframes_that_do_not_add_up_are_refused(source: str, target: str) -> None:
    with pytest.raises(InvalidInput, match="can't be put together"):
        resample(candles_at(NOON), Timeframe(source), Timeframe(target))


def test_no_candles_give_no_candles() -> None:
    found = resample(CandleTable.empty(), Timeframe.M1, Timeframe.D1)
    assert len(found.candles) == len(found.present) == len(found.complete) == 0


@given(
    st.lists(st.booleans(), min_size=1, max_size=400),
    st.sampled_from([Timeframe.M3, Timeframe.M15, Timeframe.H1, Timeframe.D1, Timeframe.W1]),
    st.integers(0, 1000),
)
def test_every_source_candle_counts_in_exactly_one_bucket(
    kept: list[bool], target: Timeframe, offset: int
) -> None:
    walk = a_walk(len(kept), NOON + offset * MINUTE, Timeframe.M1)
    minutes = CandleTable(walk.arrow.filter(np.array(kept)))
    found = resample(minutes, Timeframe.M1, target)
    assert found.present.sum() == len(minutes)
    assert (found.present >= 1).all()
    assert (found.complete == (found.present == found.expected)).all()
    assert found.candles.column("volume").sum() == pytest.approx(minutes.column("volume").sum())
    for candle, present in zip(found.candles, found.present.tolist(), strict=True):
        inside = minutes.between(candle.opened_at, target.next(candle.opened_at))
        assert len(inside) == present
        assert candle.high == inside.column("high").max()
        assert candle.low == inside.column("low").min()
        assert candle.open == inside.column("open")[0]
        assert candle.close == inside.column("close")[-1]


@given(st.integers(1, 300), st.integers(0, 2000))
def test_two_steps_give_what_one_step_gives(rows: int, offset: int) -> None:
    minutes = a_walk(rows, NOON + offset * MINUTE, Timeframe.M1)
    quarters = resample(minutes, Timeframe.M1, Timeframe.M15).candles
    in_two, in_one = (
        resample(quarters, Timeframe.M15, Timeframe.D1).candles,
        resample(minutes, Timeframe.M1, Timeframe.D1).candles,
    )
    for name in ("open", "high", "low", "close"):
        assert (in_two.column(name) == in_one.column(name)).all()
    assert in_two.column("volume") == pytest.approx(in_one.column("volume"))


@given(st.sampled_from(Timeframe), st.sampled_from(Timeframe))
def test_timeframes_add_up_exactly_when_every_boundary_is_shared(
    source: Timeframe, target: Timeframe
) -> None:
    ends = target.opens_between(datetime(2023, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    aligned = all(source.floor(from_ms(int(ts))) == from_ms(int(ts)) for ts in ends[:200])
    longer = target.duration >= source.duration
    assert can_resample(source, target) == (aligned and longer)


def test_binances_minutes_add_up_to_binances_hours(shared_data: Path) -> None:
    folder = shared_data / "candles/binance/BTC-USDT"
    minutes = CandleTable.from_arrow(pq.read_table(folder / "1m.parquet"))
    hours = CandleTable.from_arrow(pq.read_table(folder / "1h.parquet"))
    found = resample(minutes, Timeframe.M1, Timeframe.H1)
    ours = found.only_complete()
    _, mine, theirs = np.intersect1d(ours.ts_ms, hours.ts_ms, return_indices=True)
    assert len(mine) == len(ours) > 25_000
    for name in ("open", "high", "low", "close"):
        assert (ours.column(name)[mine] == hours.column(name)[theirs]).all()
    assert ours.column("volume")[mine] == pytest.approx(hours.column("volume")[theirs], rel=1e-6)
    incomplete = [c.opened_at for c in CandleTable(found.candles.arrow.filter(~found.complete))]
    assert incomplete == [datetime(2023, 3, 24, 12, tzinfo=UTC)]
