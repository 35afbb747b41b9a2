"""What a read of candles is worth."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from finsight.domain.candle_table import CandleTable
from finsight.domain.gaps import find_gaps
from finsight.domain.interval import Interval
from finsight.domain.quality import Quality, grade_quality, outliers
from finsight.domain.timeframe import Timeframe
from tests.builders import HOUR, NOON, a_walk

CANDLES = 2000
RANGE = Interval(NOON, NOON + CANDLES * HOUR)


def grade(table: CandleTable, coverage: list[Interval] | None = None) -> Quality:
    gaps = find_gaps(Timeframe.H1, table.ts_ms, coverage or [], *RANGE)
    return grade_quality(table, gaps)


def with_column(table: CandleTable, **changed: np.ndarray) -> CandleTable:
    names = table.arrow.column_names[1:]
    columns = [changed.get(name, table.column(name)) for name in names]
    return CandleTable.from_columns(table.ts_ms, *columns)


def without(table: CandleTable, rows: int) -> CandleTable:
    """The table without `rows` candles from its middle."""
    kept = np.ones(len(table), dtype=bool)
    kept[500 : 500 + rows] = False
    return CandleTable(table.arrow.filter(kept))


def test_whole_traded_and_smooth_is_an_a() -> None:
    found = grade(a_walk(CANDLES))
    assert (found.grade, found.missing_share, found.quiet_share) == ("A", 0, 0)
    assert found.outlier_share == 0


@pytest.mark.parametrize(
    ("missing", "letter"), [(2, "A"), (20, "B"), (100, "C"), (400, "D"), (1000, "E"), (1001, "F")]
)
def test_missing_candles_lower_the_grade(missing: int, letter: str) -> None:
    found = grade(without(a_walk(CANDLES), missing))
    assert found.missing_share == missing / CANDLES
    assert found.grade == letter


def test_hours_without_trades_are_quiet_and_not_missing() -> None:
    table = without(a_walk(CANDLES), 100)
    found = grade(table, [RANGE])
    assert (found.missing_share, found.quiet_share) == (0, 0.05)
    assert found.grade == "B"


def test_zero_volume_counts_like_no_candle_where_nobody_traded() -> None:
    walk = a_walk(CANDLES)
    volume = walk.column("volume").copy()
    volume[:100] = 0
    assert grade(with_column(walk, volume=volume)).quiet_share == 0.05


def test_a_single_bad_print_stands_out() -> None:
    walk = a_walk(CANDLES)
    high, low = walk.column("high").copy(), walk.column("low").copy()
    high[700] *= 3
    low[1200] /= 3
    found = with_column(walk, high=high, low=low)
    assert outliers(found).tolist() == [700, 1200]
    assert grade(found).outlier_share == 2 / CANDLES


def test_a_crash_that_stays_does_not_stand_out() -> None:
    walk = a_walk(CANDLES)
    fall = np.where(np.arange(CANDLES) < 1000, 1.0, 0.4)
    columns = {name: walk.column(name) * fall for name in ("open", "high", "low", "close")}
    assert outliers(with_column(walk, **columns)).tolist() == []


def test_a_range_of_nothing_is_an_f() -> None:
    assert grade(CandleTable.empty()).grade == "F"
    nothing = find_gaps(Timeframe.H1, CandleTable.empty().ts_ms, [], NOON, NOON)
    assert grade_quality(CandleTable.empty(), nothing).grade == "F"


def test_real_minutes_of_binance_and_kraken(shared_data: Path) -> None:
    def read(path: str) -> CandleTable:
        return CandleTable.from_arrow(pq.read_table(shared_data / "candles" / path))

    binance, kraken = read("binance/BTC-USDT/1m.parquet"), read("kraken/BTC-USDT/1m.parquet")
    grades = []
    for table in (binance, kraken):
        first, last = table.first_opened_at, table.last_opened_at
        assert first is not None
        assert last is not None
        span = Interval(first, last + timedelta(minutes=1))
        found = grade_quality(table, find_gaps(Timeframe.M1, table.ts_ms, [span], *span))
        assert found.missing_share == 0
        grades.append(found.grade)
    # 30 % of Kraken's minutes had no trade; of Binance's, 152 in three years.
    assert grades == ["A", "D"]
