"""Several symbols on one cash account, with rebalancing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from finsight.backtesting.candle_arrays import CandleArrays, candle_ms, fingerprint, market_returns
from finsight.backtesting.engine import Engine
from finsight.backtesting.kernel import LONG_ENTRY, LONG_EXIT, TALLY_COLUMNS, TRADE_FIELDS, TRADES
from finsight.backtesting.shared_account import simulate_shared
from finsight.backtesting.single import TIME, one_row, rules_of
from finsight.backtesting.strategies import indicator_row
from finsight.backtesting.user_strategy import opened
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Execution


@dataclass(frozen=True)
class TogetherResult:
    """What one account over several symbols found.

    statistics: of the whole account; buy and hold beside it holds every symbol at its
        weight from the first candle on, without costs, never rebalanced. trades: a row a
        trade, with its `symbol`. equity: a row a candle: `ts`, `equity`, `cash`, and what each
        symbol was worth. fingerprints: of each symbol's candles.
    """

    statistics: dict[str, float]
    trades: pa.Table
    equity: pa.Table
    fingerprints: dict[str, str]


def run_together(
    candles: Mapping[str, Any],
    strategy: str | Callable[..., Any] = "ma_cross",
    parameters: Mapping[str, Any] | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    rebalance: int | None = None,
    costs: Costs | Mapping[str, Any] | None = None,
    execution: Execution | str = "next_open",
    cash: float = 100.0,
) -> TogetherResult:
    """Test one strategy on several symbols that share one cash account; long only.

    A symbol whose signal says "in" is brought to its weight (an equal share each, unless
    `weights` says otherwise) of what the account is worth then; one that is "out" is sold.
    With `rebalance`, every so many candles all that are in are brought to their weights
    again. What must be sold is sold first; buys get what cash there is. A symbol without a
    candle at some moment is not traded then and is valued at its last close.

    Raises:
        InvalidInput: as `run`, naming the symbol; also weights that are negative or add up
            to more than 1, or candles of different lengths of time.
    """
    if not candles:
        raise InvalidInput("there are no candles; give at least one symbol's")
    rules = rules_of(execution, "long", costs, None, None)
    _refuse(rules.costs)
    shares = _weights(candles, weights)
    if rebalance is not None and rebalance < 1:
        raise InvalidInput(f"rebalance every 1 or more candles, not {rebalance}")
    if not cash > 0:
        raise InvalidInput(f"the account needs cash to begin with, not {cash}")
    arrays: dict[str, CandleArrays] = {}
    signals: dict[str, np.ndarray] = {}
    for symbol, given in candles.items():
        try:
            arrays[symbol], chosen = opened(given, strategy)
            values = chosen.check(parameters or {})
            rows = [indicator_row(arrays[symbol], row) for row in chosen.rows(values)]
            signals[symbol] = Engine(arrays[symbol], chosen, rules).events(values, rows)
        except InvalidInput as exc:
            raise InvalidInput(f"{symbol}: {exc}") from exc
    lengths = {symbol: candle_ms(one) for symbol, one in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{symbol} {ms / 60_000:g} min" for symbol, ms in lengths.items())
        raise InvalidInput(f"the candles last differently long: {told}; give one timeframe")
    times = np.unique(np.concatenate([one.ts_ms for one in arrays.values()]))
    places = {symbol: np.searchsorted(times, one.ts_ms) for symbol, one in arrays.items()}
    at_open = rules.execution is Execution.NEXT_OPEN
    prices = _spread(times, places, {s: a.open if at_open else a.close for s, a in arrays.items()})
    closes = _carried(_spread(times, places, {s: a.close for s, a in arrays.items()}))
    targets = _targets(times, places, signals, shares, rebalance)
    market = _held(closes, np.array(list(shares.values())))
    tally = np.empty(TALLY_COLUMNS)
    order_costs = np.array(
        [rules.costs.fee, rules.costs.fixed_fee, rules.costs.smallest_order, rules.costs.slippage]
    )
    equity, held = np.empty(len(times)), np.zeros(prices.shape)
    returns = market_returns(market)
    for room in (0, None):
        # Once to count the trades, once to keep them.
        count = int(tally[TRADES]) if room is None else 0
        trades, traded = np.empty((count, len(TRADE_FIELDS))), np.empty(count, dtype=np.int64)
        held[:] = 0.0
        simulate_shared(
            prices, closes, returns, targets, order_costs, cash, tally, trades, traded, equity, held
        )
    whole = CandleArrays._make([times, *[market] * 4, np.zeros(len(times)), *[np.empty(0)] * 4])
    sized = rules_of(execution, "long", costs, None, {"cash": cash})
    names = list(candles)
    return TogetherResult(
        statistics=one_row(tally, whole, sized),
        trades=_trade_table(trades, traded, names, times),
        equity=pa.table(
            {
                "ts": pa.array(times, TIME),
                "equity": equity,
                "cash": equity - held.sum(axis=1),
                **{name: held[:, place] for place, name in enumerate(names)},
            }
        ),
        fingerprints={symbol: fingerprint(one) for symbol, one in arrays.items()},
    )


def _weights(candles: Mapping[str, Any], given: Mapping[str, float] | None) -> dict[str, float]:
    if given is None:
        return {symbol: 1.0 / len(candles) for symbol in candles}
    unknown, absent = set(given) - set(candles), set(candles) - set(given)
    if unknown or absent:
        raise InvalidInput(
            f"weights are needed for exactly the symbols that have candles; missing: "
            f"{', '.join(sorted(absent)) or 'none'}, without candles: "
            f"{', '.join(sorted(unknown)) or 'none'}"
        )
    total = sum(given.values())
    if min(given.values()) < 0 or not 0 < total <= 1 + 1e-9:
        raise InvalidInput(
            f"weights must not be negative and add up to at most 1, not {total:g}: "
            "nothing is borrowed"
        )
    return {symbol: float(given[symbol]) for symbol in candles}


def _refuse(costs: Costs) -> None:
    if costs.impact:
        raise InvalidInput("slippage by volume (impact) is there for one symbol at a time only")


def _spread(
    times: np.ndarray, places: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]
) -> np.ndarray:
    """One column a symbol over all `times`; nan where it has no candle."""
    whole = np.full((len(times), len(places)), np.nan)
    for number, symbol in enumerate(places):
        whole[places[symbol], number] = columns[symbol]
    return whole


def _carried(closes: np.ndarray) -> np.ndarray:
    """The last close known at each moment; nan before a symbol's first."""
    rows = np.where(np.isnan(closes), 0, np.arange(len(closes))[:, None])
    np.maximum.accumulate(rows, axis=0, out=rows)
    carried: np.ndarray = np.take_along_axis(closes, rows, axis=0)
    return carried


def _targets(
    times: np.ndarray,
    places: Mapping[str, np.ndarray],
    signals: Mapping[str, np.ndarray],
    shares: Mapping[str, float],
    rebalance: int | None,
) -> np.ndarray:
    """The weight to trade to at each moment; nan where nothing is to be done."""
    targets = np.full((len(times), len(places)), np.nan)
    for number, symbol in enumerate(places):
        bits = signals[symbol]
        enters, leaves = (bits & LONG_ENTRY) > 0, (bits & LONG_EXIT) > 0
        # A candle that says both says nothing, as everywhere.
        said = np.where(enters & ~leaves, 1.0, np.where(leaves & ~enters, 0.0, np.nan))
        at = np.where(np.isnan(said), 0, np.arange(len(said)))
        np.maximum.accumulate(at, out=at)
        state = np.nan_to_num(said[at])
        turned = np.diff(state, prepend=0.0) != 0
        orders = np.where(turned, state * shares[symbol], np.nan)
        if rebalance is not None:
            due = (places[symbol] % rebalance == 0) & (state > 0)
            orders = np.where(due, shares[symbol], orders)
        targets[places[symbol], number] = orders
    return targets


def _held(closes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """What holding every symbol from its first close on is worth, at equal first prices of 1."""
    first = np.argmax(~np.isnan(closes), axis=0)
    begun = closes[first, np.arange(closes.shape[1])]
    grown = np.where(np.isnan(closes), 1.0, closes / begun)
    worth: np.ndarray = 1.0 - shares.sum() + grown @ shares
    return worth


def _trade_table(
    trades: np.ndarray, traded: np.ndarray, names: list[str], times: np.ndarray
) -> pa.Table:
    columns = dict(zip(TRADE_FIELDS, trades.T, strict=True))
    entry, exit_ = (columns[name].astype(np.int64) for name in ("entry_bar", "exit_bar"))
    return pa.table(
        {
            "symbol": [names[place] for place in traded],
            "entry_at": pa.array(times[entry], TIME),
            "exit_at": pa.array(times[exit_], TIME),
            **{name: columns[name] for name in TRADE_FIELDS[3:10]},
            "open": columns["open"].astype(bool),
        }
    )
