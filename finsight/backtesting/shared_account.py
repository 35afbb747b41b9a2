"""One cash account over several symbols: stops, then orders towards weights, sells before buys.

Order of events inside candle i, for each symbol the same as in `kernel`:

1. A position from an earlier candle meets its stops. A stop that is hit takes the place of
   that symbol's order.
2. The other symbols' orders are executed, at this candle's open (`next_open`) or at its
   close (`close`). What a stop within the candle brings in comes after its open and before
   its close: it pays for orders at the close, never for those at the open.
3. Trailing stops' extremes take in this candle's high (long) or low (short).
4. Short positions pay funding, and the account is valued at the closes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from finsight.backtesting import kernel as k
from finsight.backtesting.compiled import compiled, inlined
from finsight.backtesting.curve import (
    BEFORE,
    CURVE_ROWS,
    DEEPEST,
    FALLING,
    GROWTH,
    PEAK,
    end_drawdown,
    value_candle,
)
from finsight.backtesting.kernel import (
    ENTRY_SIZE,
    ENTRY_VALUE,
    LONG_ENTRY,
    LONG_EXIT,
    RESOLVED,
    SHORT_ENTRY,
    SHORT_EXIT,
    book,
    close_trade,
)
from finsight.backtesting.orders import ACCOUNT_ROWS, CASH, FREE_CASH, POSITION, buy, is_close, sell
from finsight.backtesting.simulate import Terms, pay_funding, stop_price


class SharedHistory(NamedTuple):
    """Several symbols' candles at the same moments: rows of moments, a column a symbol.

    open, high, low, volume, and prices (where orders fill) are nan where a symbol has no
    candle; closes are the last ones known, nan before its first. due: whether a position is
    brought to its weight again. market: the return of holding all, a row a moment.
    """

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    volume: np.ndarray
    prices: np.ndarray
    closes: np.ndarray
    due: np.ndarray
    market: np.ndarray


@inlined
def wanted_share(bits: int, due: bool, position: float, share: float) -> float:
    """The share of the account, negative where short, that a symbol is to have; nan: no order."""
    if position <= 0.0 and bits & LONG_ENTRY:
        return share
    if position >= 0.0 and bits & SHORT_ENTRY:
        return -share
    if (position > 0.0 and bits & LONG_EXIT) or (position < 0.0 and bits & SHORT_EXIT):
        return 0.0
    if due and position != 0.0:
        return share if position > 0.0 else -share
    return np.nan


@inlined
def fill(
    i: int,
    units: float,
    whole: bool,
    price: float,
    volume: float,
    costs: np.ndarray,
    account: np.ndarray,
    tally: np.ndarray,
    trades: np.ndarray,
) -> None:
    """Buy `units`, or sell -`units`, with the account's cash; `whole`: no more than is held.

    A position that grows is one trade: its entry price is what was paid on average.
    """
    side = 1.0 if units > 0.0 else -1.0
    units = abs(units)
    worse = costs[3]
    if costs[5] != 0.0:
        share = min(units / volume, 1.0) if volume > 0.0 else 1.0
        worse += costs[5] * share**2
    at = price * (1 + side * worse)
    account[FREE_CASH] = account[CASH]
    if side > 0.0:
        size, fees = buy(account, units, at, costs[0], costs[1], np.nan, whole, costs[2])
    else:
        size, fees = sell(account, units, at, costs[0], costs[1], np.nan, whole, costs[2])
    if size == 0.0:
        return
    if account[ENTRY_SIZE] > 0.0 and account[k.SIDE] == side:
        account[ENTRY_SIZE] += size
        account[ENTRY_VALUE] += size * at
        account[k.ENTRY_FEES] += fees
        tally[k.ORDERS] += 1
        tally[k.FEES] += fees
        tally[k.TURNOVER] += size * at
    else:
        book(i, account, tally, trades, size, at, fees, side)


@inlined
def note(s: int, before: float, tally: np.ndarray, traded: np.ndarray) -> None:
    """Write down that the trades counted since `before` are of symbol s."""
    for row in range(int(before), min(int(tally[k.TRADES]), len(traded))):
        traded[row] = s


@inlined
def fill_stops(
    i: int,
    hit: np.ndarray,
    cash: float,
    history: SharedHistory,
    costs: np.ndarray,
    accounts: np.ndarray,
    tally: np.ndarray,
    trades: np.ndarray,
    traded: np.ndarray,
) -> float:
    """Leave the positions whose stops are hit, at the prices in `hit`; return the cash left."""
    for s in range(len(hit)):
        if hit[s] == hit[s]:
            account, before = accounts[s], tally[k.TRADES]
            account[CASH] = cash
            tally[k.STOPPED] += 1
            volume = history.volume[i, s]
            fill(i, -account[POSITION], True, hit[s], volume, costs, account, tally, trades)
            note(s, before, tally, traded)
            cash = account[CASH]
    return cash


@compiled
def simulate_shared(
    history: SharedHistory,
    events: np.ndarray,
    shares: np.ndarray,
    terms: Terms,
    tally: np.ndarray,
    trades: np.ndarray,
    traded: np.ndarray,
    equity: np.ndarray,
    held: np.ndarray,
) -> None:
    """Bring each symbol whose signal says so to its share of the account, candle by candle.

    events: the signals' bits, each at the candle that executes them, shape (candles,
    symbols); shares: of the account's value. Fills `tally`, `trades` with `traded` (whose
    symbol each is), `equity` and `held` (each symbol's value at each close, negative where
    short).

    The account is valued at the candle's prices; where a symbol has none, at its last
    close. What must be sold is sold first; buys follow, the smallest first, with the cash
    there then is. So does vectorbt with `call_seq="auto"`. An account that is worth nothing
    any more only closes positions.
    """
    prices, closes = history.prices, history.closes
    costs, stops, cash = terms.costs, terms.stops, terms.sizing[2]
    candles, symbols = prices.shape
    accounts = np.zeros((symbols, ACCOUNT_ROWS))
    curve = np.zeros(CURVE_ROWS)
    curve[BEFORE] = curve[GROWTH] = curve[PEAK] = cash
    tally[:] = 0.0
    tally[k.BEST], tally[k.WORST] = -np.inf, np.inf
    wished, target = np.empty(symbols), np.empty(symbols)
    hit, extreme = np.empty(symbols), np.empty(symbols)
    for i in range(candles):
        hit[:] = np.nan
        for s in range(symbols):
            position = accounts[s, POSITION]
            if position != 0.0 and prices[i, s] == prices[i, s]:
                paid = accounts[s, ENTRY_VALUE] / accounts[s, ENTRY_SIZE]
                open_, high, low = history.open[i, s], history.high[i, s], history.low[i, s]
                hit[s] = stop_price(position, paid, extreme[s], stops, open_, high, low)
                best = max(extreme[s], high) if position > 0.0 else min(extreme[s], low)
                extreme[s] = best
        if not terms.at_open:
            cash = fill_stops(i, hit, cash, history, costs, accounts, tally, trades, traded)
        worth = cash
        for s in range(symbols):
            if accounts[s, POSITION] != 0.0:
                at = prices[i, s] if prices[i, s] == prices[i, s] else closes[i, s]
                worth += accounts[s, POSITION] * at
        for s in range(symbols):
            wished[s], target[s] = 0.0, np.nan
            if hit[s] != hit[s] and prices[i, s] == prices[i, s]:
                position = accounts[s, POSITION]
                bits = int(RESOLVED[events[i, s]])
                target[s] = wanted_share(bits, history.due[i, s], position, shares[s])
                if target[s] == 0.0 or (target[s] == target[s] and worth > 0.0):
                    wished[s] = target[s] * worth - position * prices[i, s]
        for s in np.argsort(wished):
            if wished[s] == 0.0:
                continue
            account, before = accounts[s], tally[k.TRADES]
            was, price = account[POSITION], prices[i, s]
            account[CASH] = cash
            leaves = target[s] == 0.0
            units = -was if leaves else wished[s] / price
            fill(i, units, leaves, price, history.volume[i, s], costs, account, tally, trades)
            note(s, before, tally, traded)
            if account[POSITION] * was <= 0.0:
                extreme[s] = account[k.FILL_PRICE]
            cash = account[CASH]
        if terms.at_open:
            cash = fill_stops(i, hit, cash, history, costs, accounts, tally, trades, traded)
        for s in range(symbols):
            if accounts[s, POSITION] < 0.0 and costs[4] != 0.0:
                accounts[s, CASH] = cash
                cash = pay_funding(accounts[s], closes[i, s], costs[4], tally)
        value, anything = cash, False
        for s in range(symbols):
            if accounts[s, POSITION] != 0.0:
                held[i, s] = accounts[s, POSITION] * closes[i, s]
                value += held[i, s]
                anything = True
        equity[i] = value
        tally[k.BARS_HELD] += anything
        value_candle(i, value, history.market[i], curve, tally)
    if curve[FALLING]:
        end_drawdown(candles, curve, tally)
    for s in range(symbols):
        account, before = accounts[s], tally[k.TRADES]
        if account[ENTRY_SIZE] > 0 and not is_close(account[ENTRY_SIZE], 0.0):
            size, last = account[ENTRY_SIZE], closes[candles - 1, s]
            close_trade(candles - 1, account, tally, trades, size, last, 0.0, 1.0)
            note(s, before, tally, traded)
    tally[k.BARS], tally[k.FINAL_VALUE] = candles, curve[BEFORE]
    tally[k.MAX_DRAWDOWN] = curve[DEEPEST]
