"""Ten candles and every order type, worked out with pencil and paper.

Opens and closes (the candle's number above):

            0    1    2    3    4    5    6    7    8    9
    open  100  100  110  120  130  120  110  100   90  100
    close 100  110  120  130  120  110  100   90  100  110
"""

import math

import pytest

from finsight.backtesting import run
from tests.unit.backtesting.histories import candles_of, signals

OPENS = [100, 100, 110, 120, 130, 120, 110, 100, 90, 100]
CLOSES = [100, 110, 120, 130, 120, 110, 100, 90, 100, 110]
TEN = candles_of(OPENS, CLOSES)
IN_AT_1_OUT_AT_4 = signals({1: "entry", 4: "exit"}, 10)


def test_executes_at_the_next_open_by_default():
    result = run(TEN, IN_AT_1_OUT_AT_4)
    [trade] = result.trades.to_pylist()
    # Signals on candles 1 and 4: bought at the open of 2, 110, sold at that of 5, 120.
    assert (trade["entry_bar"], trade["exit_bar"]) == (2, 5)
    assert (trade["entry_price"], trade["exit_price"]) == (110, 120)
    assert result.statistics["total_return"] == pytest.approx(120 / 110 - 1, abs=1e-15)
    assert result.provenance.execution == "next_open"


def test_executes_at_the_signals_own_close_when_asked_and_says_so():
    result = run(TEN, IN_AT_1_OUT_AT_4, execution="close")
    [trade] = result.trades.to_pylist()
    assert (trade["entry_price"], trade["exit_price"]) == (110, 120)
    assert (trade["entry_bar"], trade["exit_bar"]) == (1, 4)
    assert result.provenance.execution == "close"


def test_fees_and_slippage_are_paid_both_ways():
    result = run(TEN, IN_AT_1_OUT_AT_4, costs={"fee": 0.01, "slippage": 0.02})
    # Bought at 110 x 1.02 = 112.2; 100 pay for the coins and 1 % on them: 100 / 1.01 / 112.2.
    size = 100 / 1.01 / 112.2
    # Sold at 120 x 0.98 = 117.6, less 1 %.
    assert result.statistics["total_return"] == pytest.approx(size * 117.6 * 0.99 / 100 - 1)
    fees = 100 - 100 / 1.01 + size * 117.6 * 0.01
    assert result.statistics["fees_paid"] == pytest.approx(fees)


def test_a_fixed_fee_is_paid_on_every_order():
    result = run(TEN, IN_AT_1_OUT_AT_4, costs={"fixed_fee": 1.0})
    # 99 buy 0.9 coins at 110; 0.9 x 120 = 108, less 1.
    assert result.statistics["total_return"] == pytest.approx(0.07)
    assert result.statistics["fees_paid"] == pytest.approx(2.0)


def test_a_short_position_earns_what_the_price_falls():
    result = run(TEN, signals({3: "entry", 6: "exit"}, 10), direction="short")
    [trade] = result.trades.to_pylist()
    # Sold short at the open of 4, 130: 100 / 130 coins. Bought back at the open of 7, 100.
    assert trade["side"] == -1
    assert trade["size"] == pytest.approx(100 / 130)
    assert result.statistics["total_return"] == pytest.approx(30 / 130)


def test_both_directions_turn_a_position_round_in_one_order():
    result = run(TEN, signals({0: "entry", 3: "exit", 7: "entry"}, 10), direction="both")
    long, short, last = result.trades.to_pylist()
    # Long from 100 to 130: 130 in cash; short 1 coin at 130, back at 90 on candle 8: 170.
    assert (long["entry_price"], long["exit_price"]) == (100, 130)
    assert (short["side"], short["entry_price"], short["exit_price"]) == (-1, 130, 90)
    assert short["size"] == pytest.approx(1.0)
    # Long again with 170 at 90, still open at the end, when the close is 110.
    assert last["open"]
    assert result.statistics["total_return"] == pytest.approx(170 / 90 * 110 / 100 - 1)
    assert result.statistics["trades"] == 3
    assert result.statistics["orders"] == 3


def test_a_short_position_pays_funding_at_every_close():
    rate = 0.876  # a year of 8,760 hours: 0.0001 an hour
    result = run(
        TEN, signals({3: "entry", 6: "exit"}, 10), direction="short", costs={"funding": rate}
    )
    # Held at the closes of candles 4, 5 and 6: 120 + 110 + 100 = 330, times 100 / 130 coins.
    paid = 330 * 100 / 130 * 0.0001
    assert result.statistics["funding_paid"] == pytest.approx(paid)
    assert result.statistics["total_return"] == pytest.approx(30 / 130 - paid / 100)


@pytest.mark.parametrize(
    ("sizing", "size"),
    [
        ({"kind": "all_in"}, 100 / 110),
        ({"kind": "fraction", "amount": 0.5}, 50 / 110),
        ({"kind": "value", "amount": 22.0}, 0.2),
        ({"kind": "units", "amount": 0.25}, 0.25),
        ({"kind": "units", "amount": 7.0}, 100 / 110),  # only what the cash pays for
        ({"kind": "fraction", "amount": 0.5, "cash": 1000.0}, 500 / 110),
    ],
)
def test_sizes(sizing, size):
    result = run(TEN, IN_AT_1_OUT_AT_4, sizing=sizing)
    [trade] = result.trades.to_pylist()
    assert trade["size"] == pytest.approx(size)
    assert trade["pnl"] == pytest.approx(size * 10)


def test_an_order_below_the_smallest_is_not_made():
    result = run(TEN, IN_AT_1_OUT_AT_4, costs={"smallest_order": 1.0})
    assert result.statistics["trades"] == 0
    assert result.statistics["total_return"] == 0


def test_a_stop_loss_fills_at_its_price_inside_the_candle():
    result = run(TEN, signals({3: "entry"}, 10), stops={"stop_loss": 0.10})
    [trade] = result.trades.to_pylist()
    # Bought at the open of 4, 130; the stop is at 117; candle 5 goes from 120 to 110.
    assert trade["exit_bar"] == 5
    assert trade["exit_price"] == pytest.approx(117)
    assert result.statistics["stopped"] == 1


def test_a_candle_that_opens_beyond_the_stop_fills_at_its_open():
    gap = candles_of([100, 100, 100, 80], [100, 100, 100, 80])
    [trade] = run(gap, signals({0: "entry"}, 4), stops={"stop_loss": 0.10}).trades.to_pylist()
    assert (trade["exit_bar"], trade["exit_price"]) == (3, 80)


def test_a_take_profit_fills_at_its_price_inside_the_candle():
    result = run(TEN, signals({0: "entry"}, 10), stops={"take_profit": 0.15})
    [trade] = result.trades.to_pylist()
    # Bought at the open of 1, 100; 115 is between 110 and 120, the prices of candle 2.
    assert (trade["exit_bar"], trade["exit_price"]) == (2, pytest.approx(115))


def test_a_candle_that_reaches_both_takes_the_loss():
    wild = candles_of([100] * 4, [100] * 4, [100, 100, 120, 100], [100, 100, 80, 100])
    [trade] = run(
        wild, signals({0: "entry"}, 4), stops={"stop_loss": 0.1, "take_profit": 0.1}
    ).trades.to_pylist()
    assert trade["exit_price"] == pytest.approx(90)


def test_a_trailing_stop_follows_the_highest_price_since_the_entry():
    result = run(TEN, signals({0: "entry"}, 10), stops={"trailing_stop": 0.10})
    [trade] = result.trades.to_pylist()
    # In at 100 on candle 1. The high of candles 3 and 4 is 130, so the stop is at 117,
    # which candle 4 (130 to 120) misses and candle 5 (120 to 110) reaches.
    assert (trade["exit_bar"], trade["exit_price"]) == (5, pytest.approx(117))


def test_a_trailing_stop_of_a_short_position_follows_the_lowest():
    result = run(TEN, signals({3: "entry"}, 10), direction="short", stops={"trailing_stop": 0.10})
    [trade] = result.trades.to_pylist()
    # Short at 130 on candle 4. The low of candle 7 is 90: from then on the stop is at 99,
    # which candle 8 (90 to 100) reaches.
    assert (trade["exit_bar"], trade["exit_price"]) == (8, pytest.approx(99))


def test_of_a_stop_loss_and_a_trailing_stop_the_nearer_counts():
    stops = {"stop_loss": 0.25, "trailing_stop": 0.10}
    [trade] = run(TEN, signals({0: "entry"}, 10), stops=stops).trades.to_pylist()
    assert trade["exit_price"] == pytest.approx(117)
    stops = {"stop_loss": 0.05, "trailing_stop": 0.50}
    [trade] = run(TEN, signals({2: "entry"}, 10), stops=stops).trades.to_pylist()
    # In at 120 on candle 3: the stop-loss at 114; candle 5 goes from 120 to 110.
    assert (trade["exit_bar"], trade["exit_price"]) == (5, pytest.approx(114))


def test_stops_pay_fee_and_slippage():
    result = run(
        TEN,
        signals({3: "entry"}, 10),
        stops={"stop_loss": 0.10},
        costs={"fee": 0.01, "slippage": 0.01},
    )
    [trade] = result.trades.to_pylist()
    entry = 130 * 1.01
    assert trade["exit_price"] == pytest.approx(entry * 0.9 * 0.99)
    assert trade["exit_fees"] == pytest.approx(trade["size"] * trade["exit_price"] * 0.01)


def test_the_candle_of_the_entry_is_not_searched_for_stops():
    falls = candles_of([100, 100, 100, 99], [100, 100, 99, 99], None, [100, 100, 80, 99])
    result = run(falls, signals({1: "entry"}, 4), stops={"stop_loss": 0.1})
    assert result.statistics["stopped"] == 0


def test_a_signal_on_the_last_candle_is_never_executed_at_the_next_open():
    result = run(TEN, signals({9: "entry"}, 10))
    assert result.statistics["trades"] == 0


def test_statistics_of_the_ten_candles():
    result = run(TEN, signals({0: "entry", 3: "exit", 7: "entry"}, 10))
    # Long 100 -> 130 (candles 1 to 4), flat, long from 90 (candle 8) to 110 at the end.
    equity = [100, 110, 120, 130, 130, 130, 130, 130, 130 / 90 * 100, 130 / 90 * 110]
    assert result.equity.column("equity").to_pylist() == pytest.approx(equity)
    found = result.statistics
    assert found["exposure"] == pytest.approx(5 / 10)
    assert found["trades"] == found["drawdowns"] + 2 == 2
    assert found["win_rate"] == 1.0
    assert found["best_trade"] == pytest.approx(0.3)
    assert found["worst_trade"] == pytest.approx(110 / 90 - 1)
    assert found["max_consecutive_wins"] == 2
    assert found["buy_and_hold_return"] == pytest.approx(0.10)
    assert found["turnover"] == pytest.approx((100 + 130 + 130) / 100)
    assert found["average_trade_days"] == pytest.approx((3 + 1) / 2 / 24)


def test_every_run_says_what_one_candle_later_would_have_earned():
    result = run(TEN, IN_AT_1_OUT_AT_4)
    # In at the open of 3, 120, instead of that of 2; out at that of 6, 110.
    assert result.one_candle_late["total_return"] == pytest.approx(110 / 120 - 1)


def test_a_large_order_moves_the_price_by_the_square_of_its_share_of_the_volume():
    result = run(TEN, IN_AT_1_OUT_AT_4, sizing={"cash": 55}, costs={"impact": 0.1})
    [trade] = result.trades.to_pylist()
    # 55 buy half a coin at 110; each candle traded one coin: (1/2)² x 10 % worse.
    assert trade["entry_price"] == pytest.approx(110 * 1.025)
    held = 55 / (110 * 1.025)
    assert trade["exit_price"] == pytest.approx(120 * (1 - 0.1 * held**2))


def test_an_order_beyond_the_volume_pays_the_whole_impact_and_no_more():
    result = run(TEN, IN_AT_1_OUT_AT_4, sizing={"cash": 1_000}, costs={"impact": 0.1})
    [trade] = result.trades.to_pylist()
    assert (trade["entry_price"], trade["exit_price"]) == (pytest.approx(121), pytest.approx(108))


def test_a_position_is_as_large_as_the_volatility_wished_for():
    result = run(
        TEN,
        IN_AT_1_OUT_AT_4,
        sizing={"kind": "volatility", "amount": 1.0, "window": 2},
    )
    # The signal of candle 1 has one log return behind it: too few, so there is no entry.
    assert result.statistics["trades"] == 0
    result = run(
        TEN,
        signals({2: "entry", 4: "exit"}, 10),
        sizing={"kind": "volatility", "amount": 0.2, "window": 2},
    )
    [trade] = result.trades.to_pylist()
    # ln 1.1 = 0.09531 and ln(12/11) = 0.08701: deviation 0.00415, a year of 8,760 hours.
    spread = (math.log(1.1) - math.log(120 / 110)) / 2 * math.sqrt(8_760)
    assert trade["size"] * 120 == pytest.approx(100 * 0.2 / spread)
