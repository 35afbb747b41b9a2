"""What PatchTST learns from and sees: nothing later than it should, nothing over a gap."""

import numpy as np
import pytest

from finsight.adapters.models.patchtst_forecaster import scale_windows
from finsight.adapters.models.patchtst_training import cut_windows, fit_patchtst, held_out_from
from finsight.domain.candle_table import CandleTable, merge
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe, to_ms
from finsight.ports.models import ForecastInput
from tests.builders import BTC_HOURLY, HOUR, NOON, a_walk

SMALL = {"input_size": 48, "horizon": 6, "steps": 12, "batch_size": 16}


def with_closes_after(table: CandleTable, from_row: int, seed: int) -> CandleTable:
    """The same candles, but another future from `from_row` on."""
    return merge(table, CandleTable(a_walk(len(table), seed=seed).arrow.slice(from_row)))


def test_no_window_crosses_a_gap() -> None:
    whole = a_walk(40)
    holed = merge(CandleTable(whole.arrow.slice(0, 20)), CandleTable(whole.arrow.slice(21)))
    far = to_ms(NOON + 1000 * HOUR)
    training, held_out = cut_windows(holed, Timeframe.H1, 8, 4, far)
    # 20 and 19 candles in a row: 9 and 8 windows of 12.
    assert (len(training), len(held_out)) == (17, 0)
    missing = whole.column("close")[20]
    assert not (training == missing).any()


def test_training_windows_end_before_the_cut_and_held_out_futures_begin_at_it() -> None:
    table = a_walk(40)
    cut = to_ms(NOON + 30 * HOUR)
    training, held_out = cut_windows(table, Timeframe.H1, 8, 4, cut)
    closes = table.column("close")
    assert training[-1, -1] == closes[29]
    assert held_out[0, 8] == closes[30]
    assert len(training) == 30 - 12 + 1
    assert len(held_out) == 40 - 30 - 4 + 1


def test_the_cut_is_one_moment_for_all_series() -> None:
    long, short = a_walk(1000), a_walk(300)
    assert held_out_from({"a": long, "b": short}, 0.15, 6) == int(long.ts_ms[-150])


def test_windows_are_scaled_by_themselves_alone() -> None:
    closes = np.array([[100.0, 110.0, 100.0, 110.0], [1.0, 1.1, 1.0, 1.1]])
    scaled, unit = scale_windows(closes, horizon=4)
    # A price in other units is the same window.
    assert scaled[0] == pytest.approx(scaled[1])
    assert scaled[:, -1] == pytest.approx([0.0, 0.0])
    # Log returns +a, -a, +a with a = log 1.1: mean a/3, deviation a·√8/3; times √4.
    assert unit[0, 0] == pytest.approx(np.log(1.1) * np.sqrt(8) / 3 * 2)


def test_candles_after_the_cut_never_change_the_weights() -> None:
    table = a_walk(400)
    first_held_out = 340  # 15 % of 400
    altered = with_closes_after(table, first_held_out, seed=9)
    assert not np.array_equal(table.column("close"), altered.column("close"))
    one = fit_patchtst(Timeframe.H1, {"a": table}, **SMALL)
    other = fit_patchtst(Timeframe.H1, {"a": altered}, **SMALL)
    assert one.metrics["held_out_mae"] != other.metrics["held_out_mae"]
    asked = [ForecastInput(BTC_HOURLY, table.column("close")[:300], 6)]
    assert np.array_equal(one.forecast(asked)[0], other.forecast(asked)[0])


def test_candles_before_the_cut_do_change_the_weights() -> None:
    table = a_walk(400)
    altered = with_closes_after(table, 200, seed=9)
    asked = [ForecastInput(BTC_HOURLY, table.column("close")[:150], 6)]
    one = fit_patchtst(Timeframe.H1, {"a": table}, **SMALL)
    other = fit_patchtst(Timeframe.H1, {"a": altered}, **SMALL)
    assert not np.array_equal(one.forecast(asked)[0], other.forecast(asked)[0])


def test_progress_is_told_up_to_the_last_step() -> None:
    told: list[tuple[int, int]] = []
    fit_patchtst(
        Timeframe.H1,
        {"a": a_walk(400)},
        **SMALL,
        progress=lambda step, of, _: told.append((step, of)),
    )
    assert told == [(10, 12), (12, 12)]


def test_too_little_history_says_how_much_there_is() -> None:
    with pytest.raises(InvalidInput, match="too little history to train on 1h candles: 0 windows"):
        fit_patchtst(Timeframe.H1, {"a": a_walk(60)}, **SMALL)
    with pytest.raises(InvalidInput, match="no 1h candles"):
        fit_patchtst(Timeframe.H1, {}, **SMALL)
