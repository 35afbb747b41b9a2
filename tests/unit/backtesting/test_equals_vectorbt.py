"""The sweep kernel and vectorbt's `Portfolio.from_signals` tell the same story.

Every strategy, direction, execution, stop, cost and size that vectorbt supports; every
statistic that both have, to 1e-9, and every trade.
"""

import itertools

import numpy as np
import pytest

from finsight.backtesting import run
from finsight.backtesting.detailed import portfolio
from tests.builders import a_walk

# vectorbt compiles its simulation anew in every process.
pytestmark = pytest.mark.timeout(600)

WALK = a_walk(1_500, seed=7)
STRATEGIES = {
    "buy_and_hold": {},
    "ma_cross": {"fast": 5, "slow": 17},
    "rsi": {"window": 7, "lower": 35, "upper": 65},
    "bollinger": {"window": 15, "width": 1.5},
    "macd": {"fast": 6, "slow": 13, "signal": 5},
    "donchian": {"entry": 20, "exit": 9},
}
DIRECTIONS = ("long", "short", "both")
EXECUTIONS = ("next_open", "close")
STOPS = {
    "no stops": {},
    "stop-loss": {"stop_loss": 0.03},
    "take-profit": {"take_profit": 0.04},
    "both stops": {"stop_loss": 0.03, "take_profit": 0.04},
    "trailing stop": {"trailing_stop": 0.03},
    "trailing stop and take-profit": {"trailing_stop": 0.03, "take_profit": 0.05},
}
COSTS = {
    "free": {},
    "fee and slippage": {"fee": 0.001, "slippage": 0.0005},
    "fixed fee": {"fee": 0.002, "fixed_fee": 0.05, "slippage": 0.001},
}
SIZES = {
    "fraction": {"kind": "fraction", "amount": 0.4},
    "value": {"kind": "value", "amount": 30.0},
    "units": {"kind": "units", "amount": 0.2, "cash": 1_000.0},
    "volatility": {"kind": "volatility", "amount": 0.5, "window": 48},
}


def theirs(pf) -> dict[str, float]:
    trades, drawdowns = pf.trades, pf.drawdowns
    hours = trades.values["exit_idx"] - trades.values["entry_idx"]
    return {
        "total_return": pf.total_return(),
        "annual_return": pf.annualized_return(),
        "volatility": pf.annualized_volatility(),
        "sharpe": pf.sharpe_ratio(),
        "sortino": pf.sortino_ratio(),
        "calmar": pf.calmar_ratio(),
        "omega": pf.omega_ratio(),
        "max_drawdown": pf.max_drawdown(),
        "average_drawdown": drawdowns.avg_drawdown(),
        "drawdowns": drawdowns.count(),
        "max_drawdown_days": drawdowns.duration.max() / 24,
        "average_drawdown_days": drawdowns.duration.mean() / 24,
        "exposure": pf.position_coverage(),
        "beta": pf.beta(),
        "alpha": pf.alpha(),
        "buy_and_hold_return": pf.total_benchmark_return(),
        "trades": trades.count(),
        "win_rate": trades.win_rate(),
        "profit_factor": trades.profit_factor(),
        "expectancy": trades.expectancy(),
        "sqn": trades.sqn(),
        "best_trade": trades.returns.max(),
        "worst_trade": trades.returns.min(),
        "average_trade": trades.returns.mean(),
        "max_consecutive_wins": trades.winning_streak.max(),
        "max_consecutive_losses": trades.losing_streak.max(),
        "average_trade_days": hours.mean() / 24,
        "max_trade_days": hours.max() / 24,
        "orders": pf.orders.count(),
        "fees_paid": pf.orders.fees.sum(),
        "turnover": (pf.orders.size.values * pf.orders.price.values).sum() / pf.init_cash,
    }


def assert_the_same(strategy, parameters=None, **rules):
    parameters = STRATEGIES[strategy] if parameters is None else parameters
    ours = run(WALK, strategy, parameters, **rules)
    pf = portfolio(WALK, strategy, parameters, **rules)
    for name, value in theirs(pf).items():
        own, other = ours.statistics[name], float(value)
        # Where there is nothing to divide by, vectorbt says infinity and we say nothing.
        other = np.nan if np.isinf(other) else other
        assert own == pytest.approx(other, rel=1e-9, abs=1e-9, nan_ok=True), name
    records = pf.trades.values
    pairs = {"entry_bar": "entry_idx", "exit_bar": "exit_idx", "size": "size", "pnl": "pnl"}
    pairs |= {"entry_price": "entry_price", "exit_price": "exit_price", "return": "return"}
    for column, record in pairs.items():
        own = ours.trades.column(column).to_numpy()
        np.testing.assert_allclose(own, records[record], rtol=1e-9, atol=1e-9, err_msg=column)
    equity = ours.equity.column("equity").to_numpy()
    np.testing.assert_allclose(equity, pf.value().to_numpy(), rtol=1e-9)
    return ours


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_in_every_direction_with_every_stop(strategy):
    for direction, execution, stops in itertools.product(DIRECTIONS, EXECUTIONS, STOPS):
        assert_the_same(
            strategy,
            direction=direction,
            execution=execution,
            stops=STOPS[stops],
            costs=COSTS["fee and slippage"],
        )


@pytest.mark.parametrize("costs", COSTS)
def test_at_every_cost(costs):
    for strategy, direction in itertools.product(STRATEGIES, DIRECTIONS):
        assert_the_same(strategy, direction=direction, costs=COSTS[costs])


@pytest.mark.parametrize("size", SIZES)
def test_at_every_size(size):
    for strategy, direction in itertools.product(STRATEGIES, DIRECTIONS):
        refused = size in ("fraction", "volatility") and direction == "both"  # by vectorbt
        too_early = size == "volatility" and strategy == "buy_and_hold"  # nothing to go by yet
        if not refused and not too_early:
            assert_the_same(
                strategy,
                direction=direction,
                sizing=SIZES[size],
                costs=COSTS["fee and slippage"],
                stops=STOPS["both stops"],
            )


def contradicts_itself(candles, seed):
    """Signals of all four kinds at random, often at once."""
    drawn = np.random.default_rng(seed).random((4, len(WALK))) < 0.15
    return tuple(side[: len(candles.close)] for side in drawn)


@pytest.mark.parametrize("seed", range(4))
def test_with_signals_that_contradict_each_other(seed):
    for direction, stops in itertools.product(DIRECTIONS, ("no stops", "both stops")):
        found = assert_the_same(
            contradicts_itself,
            {"seed": seed},
            direction=direction,
            stops=STOPS[stops],
            costs=COSTS["fee and slippage"],
        )
        assert found.statistics["trades"] > 50


def test_the_strategies_really_trade():
    for strategy in STRATEGIES:
        found = run(WALK, strategy, STRATEGIES[strategy], direction="both").statistics
        assert found["trades"] >= (1 if strategy == "buy_and_hold" else 15), strategy


def test_a_short_position_that_ruins_the_account():
    rising = a_walk(300, seed=3)
    grown = rising.column("close") * np.linspace(1, 6, 300)
    scale = grown / rising.column("close")
    table = type(rising).from_columns(
        rising.ts_ms,
        *(rising.column(name) * scale for name in ("open", "high", "low", "close")),
        rising.column("volume"),
    )
    ours = run(table, "buy_and_hold", direction="short")
    pf = portfolio(table, "buy_and_hold", direction="short")
    assert ours.statistics["ruined"] == 1
    assert ours.statistics["total_return"] == pytest.approx(pf.total_return(), rel=1e-9)
    assert ours.statistics["max_drawdown"] == pytest.approx(pf.max_drawdown(), rel=1e-9)
    assert ours.statistics["sharpe"] == pytest.approx(pf.sharpe_ratio(), rel=1e-9)
