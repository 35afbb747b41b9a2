"""Many candles as one table: what is refused, and how tables are put together."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finsight.domain.candle_table import CandleTable, merge, merge_all
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import to_ms
from tests.builders import HOUR, NOON, a_walk, candles_at


def table_of(closes: dict[int, float]) -> CandleTable:
    """Candles at hours after noon, with their closes."""
    rows = sorted(closes.items())
    ts = np.array([to_ms(NOON + hour * HOUR) for hour, _ in rows], dtype=np.int64)
    close = np.array([close for _, close in rows], dtype=np.float64)
    return CandleTable.from_columns(ts, close, close, close, close, close)


hourly = st.dictionaries(st.integers(0, 30), st.floats(1, 100), max_size=20)


@given(hourly, hourly)
def test_merging_two_keeps_each_time_once_and_the_newer_value(
    older: dict[int, float], newer: dict[int, float]
) -> None:
    assert merge(table_of(older), table_of(newer)) == table_of(older | newer)


@given(st.lists(hourly, max_size=6))
def test_merging_many_is_merging_one_after_the_other(tables: list[dict[int, float]]) -> None:
    expected: dict[int, float] = {}
    for table in tables:
        expected |= table
    assert merge_all([table_of(table) for table in tables]) == table_of(expected)


@given(hourly)
def test_merging_a_table_with_itself_changes_nothing(closes: dict[int, float]) -> None:
    table = table_of(closes)
    assert merge(table, table) == table


def test_candles_out_of_order_or_twice_are_refused() -> None:
    with pytest.raises(InvalidInput, match="candle 1"):
        candles_at(NOON + HOUR, NOON)
    with pytest.raises(InvalidInput, match="candle 1"):
        candles_at(NOON, NOON)


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("close", np.nan, "no positive, finite close"),
        ("low", -1.0, "no positive, finite low"),
        ("high", 0.001, "a high below another"),
        ("low", 1e9, "a high below another"),
        ("volume", -0.1, "no finite volume"),
        ("volume", np.inf, "no finite volume"),
    ],
)
def test_an_impossible_value_is_refused_and_its_row_named(
    column: str, value: float, complaint: str
) -> None:
    walk = a_walk(5)
    values = walk.column(column).copy()
    values[3] = value
    index = walk.arrow.column_names.index(column)
    with pytest.raises(InvalidInput, match=f"candle 3, .*{complaint}"):
        CandleTable.from_arrow(walk.arrow.set_column(index, column, pa.array(values)))


def test_microseconds_and_milliseconds_are_told_apart() -> None:
    walk = a_walk(5)
    columns = [walk.column(name) for name in walk.arrow.column_names[1:]]
    assert CandleTable.from_columns(walk.ts_ms * 1000, *columns) == walk


def test_a_range_and_a_tail_are_cut_out() -> None:
    walk = a_walk(10)
    cut = walk.between(NOON + HOUR, NOON + 3 * HOUR)
    assert [c.opened_at for c in cut] == [NOON + HOUR, NOON + 2 * HOUR]
    assert walk.tail(2).first_opened_at == NOON + 8 * HOUR
    assert walk.tail(100) == walk
    assert len(walk.between(NOON + timedelta(minutes=1), NOON + timedelta(minutes=2))) == 0
