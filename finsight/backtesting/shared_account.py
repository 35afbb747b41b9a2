"""One cash account over several symbols: orders towards weights, sells before buys."""

from __future__ import annotations

import numpy as np

from finsight.backtesting import kernel as k
from finsight.backtesting.compiled import compiled
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
from finsight.backtesting.kernel import ENTRY_SIZE, book, close_trade
from finsight.backtesting.orders import ACCOUNT_ROWS, CASH, FREE_CASH, POSITION, buy, is_close, sell


@compiled
def simulate_shared(
    prices: np.ndarray,
    closes: np.ndarray,
    market: np.ndarray,
    targets: np.ndarray,
    costs: np.ndarray,
    cash: float,
    tally: np.ndarray,
    trades: np.ndarray,
    traded: np.ndarray,
    equity: np.ndarray,
    held: np.ndarray,
) -> None:
    """Bring each symbol to its target weight where it has one, candle by candle.

    prices: where orders of candle i fill, shape (candles, symbols), nan where the symbol has
    no candle; closes: the last close known, nan before the first; targets: share of the
    account's value, nan for no order. costs: fee, fixed fee, smallest order, slippage.
    Fills `tally`, `trades` with `traded` (whose symbol each is), `equity` and `held` (each
    symbol's value at each close).

    The account is valued at the candle's prices; where a symbol has none, at its last
    close. What must be sold is sold first; buys follow, the smallest first, with the cash
    there then is. So does vectorbt with `call_seq="auto"`.
    """
    candles, symbols = prices.shape
    accounts = np.zeros((symbols, ACCOUNT_ROWS))
    curve = np.zeros(CURVE_ROWS)
    curve[BEFORE] = curve[GROWTH] = curve[PEAK] = cash
    tally[:] = 0.0
    tally[k.BEST], tally[k.WORST] = -np.inf, np.inf
    fee, fixed_fee, smallest, slippage = costs[0], costs[1], costs[2], costs[3]
    wished = np.empty(symbols)
    for i in range(candles):
        worth = cash
        for s in range(symbols):
            if accounts[s, POSITION] > 0.0:
                at = prices[i, s] if prices[i, s] == prices[i, s] else closes[i, s]
                worth += accounts[s, POSITION] * at
        for s in range(symbols):
            asked = targets[i, s] == targets[i, s] and prices[i, s] == prices[i, s]
            wished[s] = 0.0
            if asked:
                wished[s] = targets[i, s] * worth - accounts[s, POSITION] * prices[i, s]
        for s in np.argsort(wished):
            if wished[s] == 0.0:
                continue
            account = accounts[s]
            account[CASH] = account[FREE_CASH] = cash
            units = abs(wished[s]) / prices[i, s]
            before = int(tally[k.TRADES])
            if wished[s] < 0.0:
                at = prices[i, s] * (1 - slippage)
                units = account[POSITION] if targets[i, s] == 0.0 else units
                size, fees = sell(account, units, at, fee, fixed_fee, np.nan, True, smallest)
                if size > 0:
                    book(i, account, tally, trades, size, at, fees, -1.0)
            else:
                at = prices[i, s] * (1 + slippage)
                size, fees = buy(account, units, at, fee, fixed_fee, np.nan, False, smallest)
                if size > 0 and account[ENTRY_SIZE] > 0:
                    # A position that grows is one trade: what was paid for it, on average.
                    account[ENTRY_SIZE] += size
                    account[k.ENTRY_VALUE] += size * at
                    account[k.ENTRY_FEES] += fees
                    tally[k.ORDERS] += 1
                    tally[k.FEES] += fees
                    tally[k.TURNOVER] += size * at
                elif size > 0:
                    book(i, account, tally, trades, size, at, fees, 1.0)
            cash = account[CASH]
            for row in range(before, min(int(tally[k.TRADES]), len(traded))):
                traded[row] = s
        value, anything = cash, False
        for s in range(symbols):
            if accounts[s, POSITION] > 0.0:
                held[i, s] = accounts[s, POSITION] * closes[i, s]
                value += held[i, s]
                anything = True
        equity[i] = value
        tally[k.BARS_HELD] += anything
        value_candle(i, value, market[i], curve, tally)
    if curve[FALLING]:
        end_drawdown(candles, curve, tally)
    last = candles - 1
    for s in range(symbols):
        account = accounts[s]
        if account[ENTRY_SIZE] > 0 and not is_close(account[ENTRY_SIZE], 0.0):
            row = int(tally[k.TRADES])
            if row < len(traded):
                traded[row] = s
            size = account[ENTRY_SIZE]
            close_trade(last, account, tally, trades, size, closes[last, s], 0.0, 1.0)
    tally[k.BARS], tally[k.FINAL_VALUE] = candles, curve[BEFORE]
    tally[k.MAX_DRAWDOWN] = curve[DEEPEST]
