"""Several symbols share one account as vectorbt lets them, and as pencil and paper say."""

import numpy as np
import pandas as pd
import pytest

from finsight.backtesting import run, run_together
from finsight.backtesting.one_clock import target_weights
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from tests.builders import NOON, a_walk
from tests.unit.backtesting.histories import candles_of, signals

pytestmark = pytest.mark.timeout(600)
COINS = {name: a_walk(700, seed=seed) for name, seed in (("BTC", 1), ("ETH", 2), ("LTC", 3))}
COSTS = {"fee": 0.001, "slippage": 0.0005}


def theirs(candles, parameters, rebalance, weights=None):
    """vectorbt's account over the same targets."""
    import vectorbt as vbt

    from finsight.backtesting.candle_arrays import candle_arrays
    from finsight.backtesting.engine import Engine
    from finsight.backtesting.single import rules_of
    from finsight.backtesting.user_strategy import resolve

    strategy, rules = resolve("ma_cross"), rules_of("next_open", "long", COSTS, None, None)
    events = {}
    for name, table in candles.items():
        arrays = candle_arrays(table)
        events[name] = Engine(arrays, strategy, rules).events(parameters)
    times = candles["BTC"].ts_ms
    places = {name: np.arange(len(times)) for name in candles}
    shares = weights or {name: 1 / len(candles) for name in candles}
    index = pd.to_datetime(times, unit="ms", utc=True)
    frames = {
        column: pd.DataFrame({n: t.column(column) for n, t in candles.items()}, index)
        for column in ("open", "close")
    }
    return vbt.Portfolio.from_orders(
        frames["close"],
        size=target_weights(times, places, events, shares, rebalance),
        size_type="targetpercent",
        price=frames["open"],
        fees=COSTS["fee"],
        slippage=COSTS["slippage"],
        direction="longonly",
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
        min_size=1e-8,
        freq="1h",
    )


@pytest.mark.parametrize("rebalance", [None, 24])
def test_equals_vectorbt_with_shared_cash(rebalance):
    parameters = {"fast": 5, "slow": 17}
    ours = run_together(COINS, "ma_cross", parameters, costs=COSTS, rebalance=rebalance)
    pf = theirs(COINS, parameters, rebalance)
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


def test_one_symbol_alone_is_an_ordinary_run():
    alone = run_together({"BTC": COINS["BTC"]}, "ma_cross", {"fast": 5, "slow": 17}, costs=COSTS)
    plain = run(COINS["BTC"], "ma_cross", {"fast": 5, "slow": 17}, costs=COSTS)
    for name in ("total_return", "sharpe", "max_drawdown", "trades", "win_rate", "fees_paid"):
        assert alone.statistics[name] == pytest.approx(plain.statistics[name], rel=1e-9), name


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
        ({"costs": {"impact": 0.1}}, "one symbol at a time"),
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
