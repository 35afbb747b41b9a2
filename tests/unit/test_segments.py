"""Candles cut where one is missing."""

from finsight.domain.candle_table import CandleTable
from finsight.domain.segments import count_missing, cut_at_gaps
from finsight.domain.timeframe import Timeframe
from tests.builders import HOUR, NOON, candles_at


def test_a_table_is_cut_at_every_gap() -> None:
    table = candles_at(*(NOON + k * HOUR for k in (0, 1, 3, 6, 7)))
    assert [len(part) for part in cut_at_gaps(table, Timeframe.H1)] == [2, 1, 2]
    assert count_missing(table, Timeframe.H1) == 3


def test_an_unbroken_table_stays_whole_and_nothing_has_no_stretches() -> None:
    table = candles_at(NOON, NOON + HOUR)
    assert cut_at_gaps(table, Timeframe.H1) == [table]
    assert cut_at_gaps(CandleTable.empty(), Timeframe.H1) == []
    assert count_missing(CandleTable.empty(), Timeframe.H1) == 0
