"""Several symbols on one cash account: long, short or both, with stops and rebalancing."""

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
from finsight.backtesting.engine import Engine, Rules, terms_of
from finsight.backtesting.kernel import TALLY_COLUMNS, TRADE_FIELDS, TRADES
from finsight.backtesting.look_ahead import look_ahead
from finsight.backtesting.one_clock import carried, spread, worth_held
from finsight.backtesting.shared_account import SharedHistory, simulate_shared
from finsight.backtesting.simulate import Terms
from finsight.backtesting.single import TIME, one_row, provenance_of, rules_of
from finsight.backtesting.strategies import Strategy
from finsight.backtesting.user_strategy import opened
from finsight.domain.backtest import LookAhead, MissingCandles, Provenance
from finsight.domain.backtest_record import account_shares
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Costs, Direction, Execution, Stops

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
    """What several symbols on one account are tested with; `worth` is what holding them is."""

    times: np.ndarray
    places: Mapping[str, np.ndarray]
    history: SharedHistory
    shares: np.ndarray
    worth: np.ndarray
    rules: Rules
    terms: Terms

    def trade(self, signals: Mapping[str, np.ndarray]) -> _Traded:
        """Follow every symbol's signals; twice, once to count the trades."""
        events = spread(self.times, self.places, signals)
        tally = np.empty(TALLY_COLUMNS)
        equity, held = np.empty(len(self.times)), np.zeros(events.shape)
        for room in (0, None):
            count = int(tally[TRADES]) if room is None else 0
            trades, traded = np.empty((count, len(TRADE_FIELDS))), np.empty(count, dtype=np.int64)
            held[:] = 0.0
            simulate_shared(
                self.history, events, self.shares, self.terms, tally, trades, traded, equity, held
            )
        # Only the closes and times count for the statistics.
        whole = CandleArrays._make(
            [self.times, *[self.worth] * 4, np.zeros(len(self.times)), *[np.empty(0)] * 4]
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
    direction: Direction | str = "long",
    stops: Stops | Mapping[str, Any] | None = None,
    cash: float = 100.0,
) -> TogetherResult:
    """Test one strategy on several symbols that share one cash account.

    A symbol whose signal says "in" is brought to its weight (an equal share each, unless
    `weights` says otherwise) of what the account is worth then, bought or sold short as
    `direction` and the signal say; one that is "out" is closed. With `rebalance`, every so
    many candles all that are in are brought to their weights again. `stops` are judged
    inside the candle, symbol by symbol, against what a position was paid for on average;
    after one, the symbol waits for its next signal. What must be sold is sold first; buys
    get what cash there is. A symbol without a candle at some moment is not traded then and
    is valued at its last close. The order of events is written in
    `backtesting.shared_account`.

    Raises:
        InvalidInput: as `run`, naming the symbol; also weights that are negative or add up
            to more than 1, or candles of different lengths of time.
    """
    if not candles:
        raise InvalidInput("there are no candles; give at least one symbol's")
    if not cash > 0:
        raise InvalidInput(f"the account needs cash to begin with, not {cash}")
    rules = rules_of(execution, direction, costs, stops, {"cash": cash})
    _refuse_names(candles)
    shares = account_shares(candles, weights)
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
    account = _account(arrays, shares, rules, rebalance)
    found = account.trade(signals)
    late = account.trade(
        {symbol: np.append(bits[:1] * 0, bits[:-1]) for symbol, bits in signals.items()}
    )
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
                "held": cash * account.worth,
                "cash": found.equity - found.held.sum(axis=1),
                **{name: found.held[:, place] for place, name in enumerate(names)},
            }
        ),
        fingerprints=fingerprints,
        one_candle_late=late.statistics,
        provenance=_provenance(arrays, chosen, rules, values, account.times, fingerprints),
    )


def _account(
    arrays: Mapping[str, CandleArrays],
    shares: Mapping[str, float],
    rules: Rules,
    rebalance: int | None,
) -> _Account:
    lengths = {symbol: candle_ms(one) for symbol, one in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{symbol} {ms / 60_000:g} min" for symbol, ms in lengths.items())
        raise InvalidInput(f"the candles last differently long: {told}; give one timeframe")
    times = np.unique(np.concatenate([one.ts_ms for one in arrays.values()]))
    places = {symbol: np.searchsorted(times, one.ts_ms) for symbol, one in arrays.items()}

    def columns(name: str) -> np.ndarray:
        return spread(times, places, {s: getattr(one, name) for s, one in arrays.items()})

    open_, close = columns("open"), columns("close")
    closes, own_shares = carried(close), np.array(list(shares.values()))
    worth = worth_held(closes, own_shares)
    due = np.zeros(close.shape, dtype=bool)
    if rebalance is not None:
        due[:] = (np.arange(len(times)) % rebalance == 0)[:, None]
    return _Account(
        times=times,
        places=places,
        history=SharedHistory(
            open=open_,
            high=columns("high"),
            low=columns("low"),
            volume=columns("volume"),
            prices=open_ if rules.execution is Execution.NEXT_OPEN else close,
            closes=closes,
            due=due,
            market=market_returns(worth),
        ),
        shares=own_shares,
        worth=worth,
        rules=rules,
        terms=terms_of(next(iter(arrays.values())), rules),
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


def _refuse_names(candles: Mapping[str, Any]) -> None:
    taken = [name for name in candles if name in _OWN_COLUMNS]
    if taken:
        raise InvalidInput(f"no symbol can be called {taken[0]}: the account has such a column")


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
