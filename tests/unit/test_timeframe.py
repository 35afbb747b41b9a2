"""Where candles begin and how long they last."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from finsight.domain.timeframe import EPOCH, Timeframe, from_ms, to_ms

moments = st.builds(
    lambda ms: EPOCH + timedelta(milliseconds=ms),
    st.integers(0, to_ms(datetime(2100, 1, 1, tzinfo=UTC))),
)
timeframes = st.sampled_from(Timeframe)


@given(moments, timeframes)
def test_a_moment_lies_in_exactly_one_candle(moment: datetime, timeframe: Timeframe) -> None:
    opened_at = timeframe.floor(moment)
    assert opened_at <= moment < timeframe.next(opened_at)
    assert timeframe.floor(opened_at) == opened_at
    assert timeframe.floor(timeframe.next(opened_at) - timedelta(milliseconds=1)) == opened_at


@given(moments, timeframes)
def test_ceil_is_the_first_opening_not_before(moment: datetime, timeframe: Timeframe) -> None:
    opened_at = timeframe.ceil(moment)
    assert opened_at >= moment
    assert timeframe.floor(opened_at) == opened_at
    assert timeframe.floor(opened_at - timedelta(milliseconds=1)) < moment


@given(moments, st.integers(0, 50), timeframes)
def test_openings_between_follow_one_another(
    start: datetime, candles: int, timeframe: Timeframe
) -> None:
    end = start
    for _ in range(candles):
        end = timeframe.next(timeframe.floor(end))
    opens = [from_ms(int(ts)) for ts in timeframe.opens_between(start, end)]
    assert all(start <= opened_at < end for opened_at in opens)
    if opens:
        assert opens[0] == timeframe.ceil(start)
        assert timeframe.next(opens[-1]) >= end
        assert [timeframe.next(o) for o in opens[:-1]] == opens[1:]
    else:
        assert timeframe.ceil(start) >= end


@given(moments)
def test_milliseconds_are_exact(moment: datetime) -> None:
    assert from_ms(to_ms(moment)) == moment
    assert to_ms(moment + timedelta(microseconds=999)) == to_ms(moment)


def test_days_weeks_and_months_begin_where_utc_says() -> None:
    # Wednesday evening in New York is Thursday in UTC.
    moment = datetime(2024, 2, 28, 22, tzinfo=timezone(timedelta(hours=-5)))
    assert Timeframe.D1.floor(moment) == datetime(2024, 2, 29, tzinfo=UTC)
    assert Timeframe.W1.floor(moment) == datetime(2024, 2, 26, tzinfo=UTC)
    assert Timeframe.MONTH.floor(moment) == datetime(2024, 2, 1, tzinfo=UTC)
    assert Timeframe.MONTH.next(datetime(2024, 2, 1, tzinfo=UTC)) == datetime(
        2024, 3, 1, tzinfo=UTC
    )
