"""Several symbols on one cash account, with rebalancing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from finsight.backtesting.candle_arrays import (
    CandleArrays,
    candle_ms,
    fingerprint,
    market_returns,
    missing_candles,
)
from finsight.backtesting.engine import Engine, Rules
from finsight.backtesting.kernel import TALLY_COLUMNS, TRADE_FIELDS, TRADES
from finsight.backtesting.look_ahead import look_ahead
from finsight.backtesting.one_clock import carried, spread, target_weights, worth_held
from finsight.backtesting.shared_account import simulate_shared
from finsight.backtesting.single import TIME, one_row, provenance_of, rules_of
from finsight.backtesting.strategies import Strategy
from finsight.backtesting.user_strategy import opened
from finsight.domain.backtest import LookAhead, MissingCandles, Provenance
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Execution

_OWN_COLUMNS = ("ts", "equity", "drawdown", "held", "cash")


@dataclass(frozen=True)
class TogetherResult:
    """What one account over several symbols found.

    statistics: of the whole account; buy and hold beside it holds every symbol at its
        weight from the first candle on, without costs, never rebalanced. trades: a row a
        trade, with its `symbol`. equity: a row a candle: `ts`, `equity`, `drawdown` from the
        highest so far, `held` (what buying and holding is worth), `cash`, and what each
        symbol was worth.
    one_candle_late: the statistics had every order been executed a candle later.
    fingerprints: of each symbol's candles.
    """

    parameters: dict[str, float]
    statistics: dict[str, float]
    trades: pa.Table
    equity: pa.Table
    fingerprints: dict[str, str]
    one_candle_late: dict[str, float]
    provenance: Provenance


@dataclass(frozen=True)
class _Account:
    """What several symbols on one account are tested with: columns a symbol, rows a moment."""

    times: np.ndarray
    places: Mapping[str, np.ndarray]
    prices: np.ndarray
    closes: np.ndarray
    market: np.ndarray
    rules: Rules

    def trade(self, targets: np.ndarray) -> _Traded:
        """Bring every symbol to its targets; twice, once to count the trades."""
        costs = self.rules.costs
        order_costs = np.array([costs.fee, costs.fixed_fee, costs.smallest_order, costs.slippage])
        tally = np.empty(TALLY_COLUMNS)
        equity, held = np.empty(len(self.times)), np.zeros(self.prices.shape)
        returns = market_returns(self.market)
        for room in (0, None):
            count = int(tally[TRADES]) if room is None else 0
            trades, traded = np.empty((count, len(TRADE_FIELDS))), np.empty(count, dtype=np.int64)
            held[:] = 0.0
            simulate_shared(
                self.prices,
                self.closes,
                returns,
                targets,
                order_costs,
                self.rules.sizing.cash,
                tally,
                trades,
                traded,
                equity,
                held,
            )
        # Only the closes and times count for the statistics.
        whole = CandleArrays._make(
            [self.times, *[self.market] * 4, np.zeros(len(self.times)), *[np.empty(0)] * 4]
        )
        return _Traded(one_row(tally, whole, self.rules), trades, traded, equity, held)


@dataclass(frozen=True)
class _Traded:
    statistics: dict[str, float]
    trades: np.ndarray
    traded: np.ndarray
    equity: np.ndarray
    held: np.ndarray


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
    if not cash > 0:
        raise InvalidInput(f"the account needs cash to begin with, not {cash}")
    rules = rules_of(execution, "long", costs, None, {"cash": cash})
    _refuse(rules.costs, candles)
    shares = _weights(candles, weights)
    if rebalance is not None and rebalance < 1:
        raise InvalidInput(f"rebalance every 1 or more candles, not {rebalance}")
    arrays: dict[str, CandleArrays] = {}
    signals: dict[str, np.ndarray] = {}
    for symbol, given in candles.items():
        try:
            arrays[symbol], chosen = opened(given, strategy)
            values = chosen.check(parameters or {})
            signals[symbol] = Engine(arrays[symbol], chosen, rules).events(values)
        except InvalidInput as exc:
            raise InvalidInput(f"{symbol}: {exc}") from exc
    account = _account(arrays, shares, rules)
    found = account.trade(target_weights(account.times, account.places, signals, shares, rebalance))
    later = {symbol: np.append(bits[:1] * 0, bits[:-1]) for symbol, bits in signals.items()}
    late = account.trade(target_weights(account.times, account.places, later, shares, rebalance))
    names = list(candles)
    fingerprints = {symbol: fingerprint(one) for symbol, one in arrays.items()}
    return TogetherResult(
        parameters=dict(values),
        statistics=found.statistics,
        trades=_trade_table(found.trades, found.traded, names, account.times),
        equity=pa.table(
            {
                "ts": pa.array(account.times, TIME),
                "equity": found.equity,
                "drawdown": found.equity / np.maximum.accumulate(found.equity) - 1,
                "held": cash * account.market,
                "cash": found.equity - found.held.sum(axis=1),
                **{name: found.held[:, place] for place, name in enumerate(names)},
            }
        ),
        fingerprints=fingerprints,
        one_candle_late=late.statistics,
        provenance=_provenance(arrays, chosen, rules, values, account.times, fingerprints),
    )


def _account(
    arrays: Mapping[str, CandleArrays], shares: Mapping[str, float], rules: Rules
) -> _Account:
    lengths = {symbol: candle_ms(one) for symbol, one in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{symbol} {ms / 60_000:g} min" for symbol, ms in lengths.items())
        raise InvalidInput(f"the candles last differently long: {told}; give one timeframe")
    times = np.unique(np.concatenate([one.ts_ms for one in arrays.values()]))
    places = {symbol: np.searchsorted(times, one.ts_ms) for symbol, one in arrays.items()}
    at_open = rules.execution is Execution.NEXT_OPEN
    paid = {symbol: one.open if at_open else one.close for symbol, one in arrays.items()}
    closes = carried(spread(times, places, {s: one.close for s, one in arrays.items()}))
    return _Account(
        times=times,
        places=places,
        prices=spread(times, places, paid),
        closes=closes,
        market=worth_held(closes, np.array(list(shares.values()))),
        rules=rules,
    )


def _provenance(
    arrays: Mapping[str, CandleArrays],
    strategy: Strategy,
    rules: Rules,
    values: Mapping[str, float],
    times: np.ndarray,
    fingerprints: Mapping[str, str],
) -> Provenance:
    """What made the result; the look-ahead check is of every symbol's signals."""
    absent = [missing_candles(one) for one in arrays.values()]
    digest = hashlib.sha256("".join(fingerprints.values()).encode())
    seen = LookAhead(found=False)
    for symbol, one in arrays.items():
        own = look_ahead(one, strategy, values, histories=5)
        if own.found:
            seen = own.model_copy(update={"detail": f"{symbol}: {own.detail}"})
            break
        seen = LookAhead(found=False, histories=seen.histories + own.histories)
    alone = provenance_of(next(iter(arrays.values())), strategy, rules, None)
    return alone.model_copy(
        update={
            "candles": len(times),
            "data_fingerprint": digest.hexdigest()[:32],
            "first_opened_ms": int(times[0]),
            "last_opened_ms": int(times[-1]),
            "missing": MissingCandles(
                candles=sum(one.candles for one in absent),
                holes=sum(one.holes for one in absent),
                longest=max(one.longest for one in absent),
            ),
            "look_ahead": seen,
        }
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


def _refuse(costs: Costs, candles: Mapping[str, Any]) -> None:
    taken = [name for name in candles if name in _OWN_COLUMNS]
    if taken:
        raise InvalidInput(f"no symbol can be called {taken[0]}: the account has such a column")
    if costs.impact:
        raise InvalidInput("slippage by volume (impact) is there for one symbol at a time only")


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
            "side": columns["side"].astype(np.int8),
            **{name: columns[name] for name in TRADE_FIELDS[3:10]},
            "open": columns["open"].astype(bool),
        }
    )
