"""Which candles are missing, and why."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from finsight.domain.candle_table import CandleTable
from finsight.domain.gaps import Gap, GapKind, GapPlace, find_gaps
from finsight.domain.interval import Interval
from finsight.domain.timeframe import Timeframe, to_ms

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def hours(*numbers: int) -> np.ndarray:
    return np.array([to_ms(NOON + n * HOUR) for n in numbers], dtype=np.int64)


def span(start: int, end: int) -> Interval:
    return Interval(NOON + start * HOUR, NOON + end * HOUR)


def summed_up(gaps: list[Gap]) -> list[tuple[int, int, str, str]]:
    return [((g.start - NOON) // HOUR, (g.end - NOON) // HOUR, g.kind, g.place) for g in gaps]


def find(
    opened: np.ndarray,
    coverage: list[Interval],
    start: int,
    end: int,
    known: Interval | None = None,
) -> list[tuple[int, int, str, str]]:
    moments = NOON + start * HOUR, NOON + end * HOUR
    return summed_up(find_gaps(Timeframe.H1, opened, coverage, *moments, known).gaps())


def test_a_whole_series_has_no_gaps() -> None:
    assert find(hours(0, 1, 2), [], 0, 3) == []


def test_a_hole_that_nobody_asked_for_is_interior_and_not_fetched() -> None:
    assert find(hours(0, 3), [], 0, 4) == [(1, 3, "not fetched", "interior")]


def test_a_hole_that_was_asked_for_had_no_trades() -> None:
    assert find(hours(0, 3), [span(0, 4)], 0, 4) == [(1, 3, "no trades", "interior")]


def test_the_ends_are_told_from_the_middle() -> None:
    assert find(hours(2, 4), [], 0, 7) == [
        (0, 2, "not fetched", "leading"),
        (3, 4, "not fetched", "interior"),
        (5, 7, "not fetched", "trailing"),
    ]


def test_a_gap_is_cut_where_its_kind_changes() -> None:
    assert find(hours(0, 9), [span(2, 4), span(6, 7)], 0, 10) == [
        (1, 2, "not fetched", "interior"),
        (2, 4, "no trades", "interior"),
        (4, 6, "not fetched", "interior"),
        (6, 7, "no trades", "interior"),
        (7, 9, "not fetched", "interior"),
    ]


def test_what_lies_between_two_answers_is_interior_even_without_candles() -> None:
    assert find(hours(), [span(0, 1), span(2, 3)], 0, 4) == [
        (0, 1, "no trades", "leading"),
        (1, 2, "not fetched", "interior"),
        (2, 3, "no trades", "trailing"),
        (3, 4, "not fetched", "trailing"),
    ]


def test_a_range_nothing_is_known_of_is_one_whole_gap() -> None:
    assert find(hours(), [], 0, 5) == [(0, 5, "not fetched", "whole")]


def test_what_the_series_holds_outside_of_the_range_makes_a_gap_interior() -> None:
    assert find(hours(), [], 2, 5, known=span(0, 9)) == [(2, 5, "not fetched", "interior")]
    assert find(hours(), [], 2, 5, known=span(4, 9)) == [(2, 5, "not fetched", "leading")]


def test_an_empty_range_has_no_gaps_and_expects_nothing() -> None:
    report = find_gaps(Timeframe.H1, hours(0), [], NOON + MINUTE, NOON + 2 * MINUTE)
    assert (len(report), report.expected, report.present) == (0, 0, 0)


def test_opening_times_outside_of_the_range_do_not_count() -> None:
    report = find_gaps(Timeframe.H1, hours(0, 1, 2, 3), [], NOON + HOUR, NOON + 3 * HOUR)
    assert (report.expected, report.present, len(report)) == (2, 2, 0)


def test_months_of_different_lengths_are_neighbours() -> None:
    def month(number: int) -> datetime:
        return datetime(2024, number, 1, tzinfo=UTC)

    opened = np.array([to_ms(month(n)) for n in (1, 2, 5)], dtype=np.int64)
    [gap] = find_gaps(Timeframe.MONTH, opened, [], month(1), month(6)).gaps()
    assert (gap.start, gap.end, gap.missing) == (month(3), month(5), 2)


def test_weeks_begin_on_monday() -> None:
    monday = datetime(2024, 1, 1, tzinfo=UTC)
    opened = np.array([to_ms(monday), to_ms(monday + timedelta(weeks=2))])
    [gap] = find_gaps(Timeframe.W1, opened, [], monday, monday + timedelta(weeks=3)).gaps()
    assert gap.start == monday + timedelta(weeks=1)


cells = st.sampled_from(["candle", "answered", "unknown"])


@given(st.lists(cells, max_size=60), st.sampled_from([Timeframe.M1, Timeframe.W1, Timeframe.MONTH]))
def test_every_opening_time_is_a_candle_or_in_one_gap_of_the_right_kind(
    timeline: list[str], timeframe: Timeframe
) -> None:
    start = timeframe.ceil(NOON)
    opens = [start]
    for _ in timeline:
        opens.append(timeframe.next(opens[-1]))
    candles = [o for o, cell in zip(opens, timeline, strict=False) if cell == "candle"]
    answered = [
        Interval(o, timeframe.next(o))
        for o, cell in zip(opens, timeline, strict=False)
        if cell == "answered"
    ]
    opened_ms = np.array([to_ms(o) for o in candles], dtype=np.int64)
    report = find_gaps(timeframe, opened_ms, answered, start, opens[-1])

    seen = ["candle"] * len(timeline)
    gaps = report.gaps()
    for gap in gaps:
        first, stop = opens.index(gap.start), opens.index(gap.end)
        assert gap.missing == stop - first > 0
        for index in range(first, stop):
            assert seen[index] == "candle"
            seen[index] = "answered" if gap.kind is GapKind.NO_TRADES else "unknown"
    assert seen == timeline
    assert report.expected == len(timeline)
    assert report.not_fetched == timeline.count("unknown")
    assert report.no_trades == timeline.count("answered")

    known = [i for i, cell in enumerate(timeline) if cell != "unknown"]
    for gap in gaps:
        before = bool(known) and known[0] < opens.index(gap.start)
        after = bool(known) and known[-1] >= opens.index(gap.end)
        place = {
            (False, False): GapPlace.WHOLE,
            (False, True): GapPlace.LEADING,
            (True, False): GapPlace.TRAILING,
            (True, True): GapPlace.INTERIOR,
        }[before, after]
        assert gap.place is place
    holes = [g for g in gaps if (g.kind, g.place) == (GapKind.NOT_FETCHED, GapPlace.INTERIOR)]
    assert report.holes == holes


def test_finds_the_outages_that_binance_had(shared_data: Path) -> None:
    folder = shared_data / "candles/binance/BTC-USDT"
    table = CandleTable.from_arrow(pq.read_table(folder / "1m.parquet"))
    with (folder / "1m_gaps_2017-2025.csv").open() as file:
        rows = list(csv.DictReader(file))
    first, last = table.first_opened_at, table.last_opened_at
    assert first is not None
    assert last is not None
    expected = []
    for row in rows:
        before = datetime.fromisoformat(row["last_bar_before"]).replace(tzinfo=UTC)
        after = datetime.fromisoformat(row["first_bar_after"]).replace(tzinfo=UTC)
        if before >= first:
            expected.append((before + MINUTE, after, int(row["missing_minutes"])))
    report = find_gaps(Timeframe.M1, table.ts_ms, [], first, last + MINUTE)
    assert len(expected) > 0
    assert [(g.start, g.end, g.missing) for g in report.holes] == expected


def test_minutes_without_trades_on_kraken_are_not_taken_for_unfetched(shared_data: Path) -> None:
    path = shared_data / "candles/kraken/BTC-USDT/1m.parquet"
    table = CandleTable.from_arrow(pq.read_table(path))
    first, last = table.first_opened_at, table.last_opened_at
    assert first is not None
    assert last is not None
    everything = Interval(first, last + MINUTE)
    asked = find_gaps(Timeframe.M1, table.ts_ms, [everything], *everything)
    assert (asked.not_fetched, asked.no_trades) == (0, 2334)
    assert asked.holes == []
    unasked = find_gaps(Timeframe.M1, table.ts_ms, [], *everything)
    assert (unasked.not_fetched, unasked.no_trades) == (2334, 0)
