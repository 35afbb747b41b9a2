"""Several symbols share one account as vectorbt lets them, and as pencil and paper say."""

import numpy as np
import pandas as pd
import pytest

from finsight.backtesting import run, run_together
from finsight.backtesting.candle_arrays import candle_arrays
from finsight.backtesting.engine import Engine
from finsight.backtesting.kernel import LONG_ENTRY, LONG_EXIT, SHORT_ENTRY, SHORT_EXIT
from finsight.backtesting.single import rules_of
from finsight.backtesting.user_strategy import resolve
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from tests.builders import NOON, a_walk
from tests.unit.backtesting.histories import candles_of, signals

pytestmark = pytest.mark.timeout(600)
COINS = {name: a_walk(700, seed=seed) for name, seed in (("BTC", 1), ("ETH", 2), ("LTC", 3))}
COSTS = {"fee": 0.001, "slippage": 0.0005}


def targets(table, parameters, direction, share, rebalance):
    """The share of the account to trade to at each candle, nan for no order."""
    strategy, rules = resolve("ma_cross"), rules_of("next_open", direction, COSTS, None, None)
    bits = Engine(candle_arrays(table), strategy, rules).events(parameters)
    state, found = 0.0, np.full(len(bits), np.nan)
    for i, bit in enumerate(bits):
        before = state
        if bit & LONG_ENTRY and state <= 0:
            state = 1.0
        elif bit & SHORT_ENTRY and state >= 0:
            state = -1.0
        elif (bit & LONG_EXIT and state > 0) or (bit & SHORT_EXIT and state < 0):
            state = 0.0
        if state != before or (rebalance and i % rebalance == 0 and state):
            found[i] = state * share
    return found


def theirs(candles, parameters, direction, rebalance):
    """vectorbt's account over the same targets."""
    import vectorbt as vbt

    share = 1 / len(candles)
    index = pd.to_datetime(candles["BTC"].ts_ms, unit="ms", utc=True)
    frames = {
        column: pd.DataFrame({n: t.column(column) for n, t in candles.items()}, index)
        for column in ("open", "close")
    }
    wanted = [targets(one, parameters, direction, share, rebalance) for one in candles.values()]
    return vbt.Portfolio.from_orders(
        frames["close"],
        size=np.column_stack(wanted),
        size_type="targetpercent",
        price=frames["open"],
        fees=COSTS["fee"],
        slippage=COSTS["slippage"],
        direction="both",
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
        min_size=1e-8,
        freq="1h",
    )


@pytest.mark.parametrize("rebalance", [None, 24])
@pytest.mark.parametrize("direction", ["long", "short", "both"])
def test_equals_vectorbt_with_shared_cash(direction, rebalance):
    parameters = {"fast": 5, "slow": 17}
    how = {"costs": COSTS, "direction": direction, "rebalance": rebalance}
    ours = run_together(COINS, "ma_cross", parameters, **how)
    pf = theirs(COINS, parameters, direction, rebalance)
    equity = ours.equity.column("equity").to_numpy()
    np.testing.assert_allclose(equity, pf.value().to_numpy(), rtol=1e-9)
    for name, expected in (
        ("total_return", pf.total_return()),
        ("sharpe", pf.sharpe_ratio()),
        ("max_drawdown", pf.max_drawdown()),
        ("orders", pf.orders.count()),
        ("trades", pf.trades.count()),
        ("win_rate", pf.trades.win_rate()),
        ("fees_paid", pf.orders.fees.sum()),
    ):
        assert ours.statistics[name] == pytest.approx(float(expected), rel=1e-9), name
    assert ours.statistics["orders"] > (150 if rebalance else 100)
    assert len(set(ours.trades.column("side").to_pylist())) == (2 if direction == "both" else 1)


STOPS = [
    {"stop_loss": 0.01},
    {"take_profit": 0.01},
    {"trailing_stop": 0.015},
    {"stop_loss": 0.02, "take_profit": 0.03, "trailing_stop": 0.015},
]


@pytest.mark.parametrize("execution", ["next_open", "close"])
@pytest.mark.parametrize("stops", [None, *STOPS], ids=str)
@pytest.mark.parametrize("direction", ["long", "short", "both"])
def test_one_symbol_alone_is_an_ordinary_run(direction, stops, execution):
    # All in, a short of an ordinary run is as large as its own fee leaves room for.
    costs = {**COSTS, "impact": 0.1} if direction == "long" else {"funding": 0.2}
    how = {"costs": costs, "stops": stops, "execution": execution, "direction": direction}
    alone = run_together({"BTC": COINS["BTC"]}, "ma_cross", {"fast": 5, "slow": 17}, **how)
    plain = run(COINS["BTC"], "ma_cross", {"fast": 5, "slow": 17}, **how)
    for name in (
        *("total_return", "sharpe", "max_drawdown", "trades", "win_rate", "fees_paid"),
        *("exposure", "stopped", "funding_paid", "turnover"),
    ):
        assert alone.statistics[name] == pytest.approx(plain.statistics[name], rel=1e-9), name
    assert (alone.statistics["stopped"] > 5) == (stops is not None)
    columns = ("entry_at", "exit_at", "side")
    assert alone.trades.select(columns).equals(plain.trades.select(columns))


def test_rebalancing_by_hand():
    rising = candles_of([100.0, 100, 200, 200, 200], [100.0, 200, 200, 200, 200])
    flat = candles_of([10.0] * 5, [10.0] * 5)
    stay = signals({0: "entry"}, 5)
    result = run_together({"UP": rising, "FLAT": flat}, stay, rebalance=3, cash=100)
    # Candle 1: 50 of each, 0.5 UP at 100 and 5 FLAT. UP doubles: the account is worth 150.
    # Candle 3: 75 of each again: 0.125 UP are sold at 200 and 2.5 FLAT are bought at 10.
    equity = result.equity.to_pydict()
    assert equity["equity"] == pytest.approx([100, 150, 150, 150, 150])
    assert equity["UP"] == pytest.approx([0, 100, 100, 75, 75])
    assert equity["FLAT"] == pytest.approx([0, 50, 50, 75, 75])
    assert [trade["symbol"] for trade in result.trades.to_pylist()] == ["UP", "UP", "FLAT"]


def test_a_short_beside_a_long_by_hand():
    rising = candles_of([100.0, 100, 110, 120, 120], [100.0, 110, 120, 120, 120])
    falling = candles_of([10.0, 10, 8, 5, 5], [10.0, 8, 5, 5, 5])

    def apart(table, **parameters):
        """In at once and out on candle 2; what costs 10 is sold short then, not bought."""
        says = np.arange(len(table.close))
        enters, leaves = says == 0, says == 2
        return (enters, leaves) if table.close[0] == 100 else (leaves, enters)

    result = run_together({"UP": rising, "DOWN": falling}, apart, direction="both", cash=100)
    # Candle 1: 0.5 UP bought at 100, 5 DOWN sold short at 10: 100 in cash again.
    # Candle 2: UP is worth 60, DOWN is owed 5 * 5: 100 + 60 - 25 = 135.
    # Candle 3: both turn, DOWN being bought and UP sold short, half of 135 each:
    # DOWN from -25 to 67.5, UP from 60 (120 * 0.5) to -67.5: 135 in cash.
    equity = result.equity.to_pydict()
    assert equity["UP"] == pytest.approx([0, 55, 60, -67.5, -67.5])
    assert equity["DOWN"] == pytest.approx([0, -40, -25, 67.5, 67.5])
    assert equity["cash"] == pytest.approx([100, 100, 100, 135, 135])
    closed = [trade for trade in result.trades.to_pylist() if not trade["open"]]
    # What is sold comes first.
    assert [(t["symbol"], t["side"], t["pnl"]) for t in closed] == [("UP", 1, 10), ("DOWN", -1, 25)]


@pytest.mark.parametrize(("execution", "bought"), [("next_open", 50.0), ("close", 92.5)])
def test_what_a_stop_brings_in_pays_for_nothing_earlier_in_its_candle(execution, bought):
    prices = [100.0, 100, 300, 300, 300]
    stopped = candles_of(prices, prices, lows=[100.0, 100, 300, 200, 300])
    other = candles_of([10.0] * 5, [10.0] * 5)
    late = 1 if execution == "next_open" else 0

    def one_then_the_other(table, **parameters):
        candle = np.arange(len(table.close))
        return candle == ((1 if table.close[0] == 100 else 3) - late), candle < 0

    result = run_together(
        {"A": stopped, "B": other},
        one_then_the_other,
        execution=execution,
        stops={"trailing_stop": 0.1},
        cash=100,
    )
    # 0.5 A are worth 150 when candle 3 opens, and are sold at 270 within it. B is to have
    # half of the 200 that the account is worth then, and finds 50 in cash. Executed at the
    # close there are 50 + 135, and half of that is for B.
    equity = result.equity.to_pydict()
    assert equity["A"] == pytest.approx([0, 50, 150, 0, 0])
    assert equity["B"] == pytest.approx([0, 0, 0, bought, bought])
    assert equity["equity"] == pytest.approx([100, 100, 200, 185, 185])
    assert result.statistics["stopped"] == 1
    [sold] = [trade for trade in result.trades.to_pylist() if trade["symbol"] == "A"]
    assert sold["exit_price"] == pytest.approx(270)


def test_a_stop_goes_by_what_was_paid_on_average():
    prices = [100.0, 100, 100, 200, 200]
    grown = candles_of(prices, prices, lows=[100.0, 100, 100, 200, 90])
    other = candles_of([10.0, 10, 10, 40, 40], [10.0, 10, 40, 40, 40])
    stay = signals({0: "entry"}, 5)
    result = run_together({"A": grown, "B": other}, stay, rebalance=3, stops={"stop_loss": 0.25})
    # Candle 3: 0.5 A are worth 100 and 5 B 200: 50 go from B to A, for 0.25 more at 200.
    # Paid for 0.75 A: 100. A quarter below 133.33 is 100, and candle 4's low is 90.
    assert result.statistics["stopped"] == 1
    [stopped] = [trade for trade in result.trades.to_pylist() if trade["symbol"] == "A"]
    assert stopped["entry_price"] == pytest.approx(400 / 3)
    assert stopped["exit_price"] == pytest.approx(100)


def test_an_account_that_is_ruined_trades_no_more():
    doubled = [100.0, 100, 300, 300, 300]
    ruined = candles_of(doubled, doubled)
    flat = candles_of([10.0] * 5, [10.0] * 5)
    result = run_together(
        {"A": ruined, "B": flat},
        signals({0: "entry"}, 5),
        direction="short",
        rebalance=1,
        weights={"A": 0.9, "B": 0.1},
    )
    equity = result.equity.to_pydict()
    # 0.9 A sold short at 100 and 1 B at 10: at 300 the account owes 80 more than it has.
    assert equity["equity"] == pytest.approx([100, 100, -80, -80, -80])
    assert result.statistics["ruined"] == 1
    assert result.statistics["orders"] == 2


def test_shorts_pay_funding_for_every_candle():
    flat = candles_of([100.0] * 5, [100.0] * 5)
    year = {"funding": 0.876}  # A ten-thousandth an hour.
    result = run_together(
        {"A": flat, "B": candles_of([10.0] * 5, [10.0] * 5)},
        signals({0: "entry"}, 5),
        direction="short",
        costs=year,
        cash=100,
    )
    assert result.statistics["funding_paid"] == pytest.approx(4 * 100 * 0.0001)
    assert result.statistics["total_return"] == pytest.approx(-0.0004)


def test_a_symbol_without_a_candle_is_not_traded_and_keeps_its_last_close():
    whole = candles_of([10.0, 10, 20, 30, 30, 30], [10.0, 20, 30, 30, 30, 30])
    holed = CandleTable.from_arrow(whole.arrow.take([0, 1, 4, 5]))
    other = candles_of([50.0] * 6, [50.0] * 6)
    result = run_together(
        {"HOLED": holed, "WHOLE": other}, signals({0: "entry", 1: "exit"}, 6), rebalance=2
    )
    # HOLED says out on candle 1; its next candle is 4, and only then can it be sold, at 30.
    equity = result.equity.to_pydict()
    assert equity["HOLED"] == pytest.approx([0, 100, 100, 100, 0, 0])
    [sold] = [t for t in result.trades.to_pylist() if t["symbol"] == "HOLED"]
    assert sold["exit_price"] == 30


def test_what_cannot_be_is_refused():
    pair = {"A": COINS["BTC"], "B": COINS["ETH"]}
    for given, message in (
        ({"weights": {"A": 0.7, "B": 0.7}}, "at most 1"),
        ({"weights": {"A": 0.7}}, "missing: B"),
        ({"rebalance": 0}, "every 1 or more"),
        ({"direction": "up"}, "no direction 'up'"),
        ({"stops": {"stop_loss": 2}}, "stop_loss"),
        ({"parameters": {"fast": 60}}, "A: "),
    ):
        with pytest.raises(InvalidInput, match=message):
            run_together(pair, "ma_cross", **given)
    with pytest.raises(InvalidInput, match="no candles"):
        run_together({})
    from finsight.domain.timeframe import Timeframe

    daily = a_walk(700, NOON, Timeframe.D1)
    with pytest.raises(InvalidInput, match="A 60 min, B 1440 min"):
        run_together({"A": COINS["BTC"], "B": daily}, "ma_cross")
