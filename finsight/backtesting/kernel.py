"""The sweep kernel: one pass over the candles for one parameter set.

Order of events inside candle i, the same as vectorbt's `Portfolio.from_signals` (1.2.0):

1. A position opened on an earlier candle meets its stops. A candle that opens beyond a
   stop fills at its open, otherwise at the stop's price. Stop-loss and trailing stop come
   before the take-profit: where one candle reaches both, the worse is taken.
2. Only where no stop was hit, the signal's order is executed, at this candle's open
   (`next_open`, the signal being of candle i-1) or at its close (`close`).
3. The trailing stop's extreme takes in this candle's high (long) or low (short).
4. The account is valued at the close; short positions pay funding first.

Stops hit on the candle of the entry itself are not looked for, as in vectorbt: within
that candle the data doesn't say what came first.
"""

from __future__ import annotations

import numpy as np

from finsight.backtesting.compiled import inlined
from finsight.backtesting.orders import (
    CASH,
    POSITION,
    add,
    buy,
    is_close,
    sell,
)

LONG_ENTRY, LONG_EXIT, SHORT_ENTRY, SHORT_EXIT = 1, 2, 4, 8
ALL_IN, FRACTION, VALUE, UNITS = 0, 1, 2, 3

# Rows of `account` after those in orders.py: the trade that is open.
ENTRY_SIZE, ENTRY_VALUE, ENTRY_FEES, ENTRY_BAR, SIDE, STREAK = 4, 5, 6, 7, 8, 9
FILL_PRICE = 10

# Columns of `tally`: what the statistics are made of. See statistics.py.
BARS, SUM_R, SUM_R2, SUM_R3, SUM_R4, SUM_NEG, SUM_NEG2, SUM_RB = 0, 1, 2, 3, 4, 5, 6, 7
FINAL_VALUE, MAX_DRAWDOWN, DRAWDOWNS, SUM_DRAWDOWN, SUM_DRAWDOWN_BARS = 8, 9, 10, 11, 12
MAX_DRAWDOWN_BARS, BARS_HELD, RUINED, UNUSED = 13, 14, 15, 16
TRADES, WINS, LOSSES, SUM_PNL, SUM_PNL2, PROFIT, LOSS = 17, 18, 19, 20, 21, 22, 23
SUM_RETURN, BEST, WORST, SUM_WIN_RETURN, SUM_LOSS_RETURN = 24, 25, 26, 27, 28
MAX_WINS, MAX_LOSSES, FEES, TURNOVER, SUM_TRADE_BARS, MAX_TRADE_BARS = 29, 30, 31, 32, 33, 34
FUNDING, STOPPED, ORDERS = 35, 36, 37
TALLY_COLUMNS = 38

TRADE_FIELDS = (
    *("entry_bar", "exit_bar", "side", "size", "entry_price", "exit_price"),
    *("entry_fees", "exit_fees", "pnl", "return", "open"),
)


def _resolved() -> np.ndarray:
    """What is left of each combination of signals; contradictions cancel, as in vectorbt."""
    table = np.zeros(16, dtype=np.uint8)
    for bits in range(16):
        left = bits
        if bits & (LONG_ENTRY | SHORT_ENTRY):
            if left & LONG_ENTRY and left & LONG_EXIT:
                left &= ~(LONG_ENTRY | LONG_EXIT)
            if left & SHORT_ENTRY and left & SHORT_EXIT:
                left &= ~(SHORT_ENTRY | SHORT_EXIT)
            if left & LONG_ENTRY and left & SHORT_ENTRY:
                left &= ~(LONG_ENTRY | SHORT_ENTRY)
        table[bits] = left
    return table


RESOLVED = _resolved()


@inlined
def close_trade(
    i: int,
    account: np.ndarray,
    tally: np.ndarray,
    trades: np.ndarray,
    size: float,
    price: float,
    fees: float,
    still_open: float,
) -> None:
    """Count a trade, or the part of it that `size` closes."""
    share = size / account[ENTRY_SIZE]
    entry_price = account[ENTRY_VALUE] / account[ENTRY_SIZE]
    entry_value = size * entry_price
    entry_fees = share * account[ENTRY_FEES]
    pnl = add(size * price, -entry_value) * account[SIDE] - entry_fees - fees
    earned = pnl / entry_value
    row = int(tally[TRADES])
    if row < trades.shape[0]:
        trades[row, 0], trades[row, 1], trades[row, 2] = account[ENTRY_BAR], i, account[SIDE]
        trades[row, 3], trades[row, 4], trades[row, 5] = size, entry_price, price
        trades[row, 6], trades[row, 7], trades[row, 8] = entry_fees, fees, pnl
        trades[row, 9], trades[row, 10] = earned, still_open
    tally[TRADES] += 1
    tally[SUM_PNL] += pnl
    tally[SUM_PNL2] += pnl * pnl
    tally[SUM_RETURN] += earned
    tally[BEST] = max(tally[BEST], earned)
    tally[WORST] = min(tally[WORST], earned)
    bars = i - account[ENTRY_BAR]
    tally[SUM_TRADE_BARS] += bars
    tally[MAX_TRADE_BARS] = max(tally[MAX_TRADE_BARS], bars)
    streak = account[STREAK]
    if pnl > 0:
        tally[WINS] += 1
        tally[PROFIT] += pnl
        tally[SUM_WIN_RETURN] += earned
        streak = streak + 1 if streak > 0 else 1
        tally[MAX_WINS] = max(tally[MAX_WINS], streak)
    elif pnl < 0:
        tally[LOSSES] += 1
        tally[LOSS] -= pnl
        tally[SUM_LOSS_RETURN] -= earned
        streak = streak - 1 if streak < 0 else -1
        tally[MAX_LOSSES] = max(tally[MAX_LOSSES], -streak)
    else:
        streak = 0
    account[STREAK] = streak


@inlined
def book(
    i: int,
    account: np.ndarray,
    tally: np.ndarray,
    trades: np.ndarray,
    size: float,
    price: float,
    fees: float,
    side: float,
) -> None:
    """Book a filled order (`side` +1 buy, -1 sell): fees, turnover, trades it opens or closes."""
    account[FILL_PRICE] = price
    tally[ORDERS] += 1
    tally[FEES] += fees
    tally[TURNOVER] += size * price
    opened = size
    if account[ENTRY_SIZE] > 0:
        held = account[ENTRY_SIZE]
        if is_close(size, held) or size < held:
            whole = is_close(size, held)
            close_trade(i, account, tally, trades, held if whole else size, price, fees, 0.0)
            left = 0.0 if whole else (held - size) / held
            account[ENTRY_SIZE] *= left
            account[ENTRY_VALUE] *= left
            account[ENTRY_FEES] *= left
            return
        share = held / size * fees
        close_trade(i, account, tally, trades, held, price, share, 0.0)
        opened, fees = size - held, fees - share
    account[ENTRY_SIZE] = opened
    account[ENTRY_VALUE] = opened * price
    account[ENTRY_FEES] = fees
    account[ENTRY_BAR] = i
    account[SIDE] = side


@inlined
def volume_share(
    bits: int, price: float, volume: float, kind: int, amount: float, account: np.ndarray
) -> float:
    """How large the order that `bits` ask for is beside the candle's volume, at most 1.

    Judged before fees and slippage: these depend on it.
    """
    position = account[POSITION]
    units = abs(position)
    if (position <= 0 and bits & LONG_ENTRY) or (position >= 0 and bits & SHORT_ENTRY):
        worth = max(account[CASH] + position * price, 0.0) / price
        wanted = worth
        if kind == FRACTION:
            wanted = amount * worth
        elif kind == VALUE:
            wanted = min(amount / price, worth)
        elif kind == UNITS:
            wanted = min(amount, worth)
        units += wanted
    return min(units / volume, 1.0) if volume > 0.0 else 1.0


@inlined
def trade(
    i: int,
    bits: int,
    price: float,
    slippage: float,
    costs: np.ndarray,
    kind: int,
    amount: float,
    account: np.ndarray,
    tally: np.ndarray,
    trades: np.ndarray,
) -> None:
    """Execute what the signals `bits` ask for at `price`.

    costs: fee (share of value), fixed fee, smallest size. kind, amount: of the sizing.
    """
    fee, fixed_fee, min_size = costs[0], costs[1], costs[2]
    for row in range(4):
        if abs(account[row]) <= 1e-12:
            account[row] = 0.0
    up, down = price * (1 + slippage), price * (1 - slippage)
    position = account[POSITION]
    goes_long = position <= 0 and (bits & LONG_ENTRY) != 0
    goes_short = position >= 0 and (bits & SHORT_ENTRY) != 0
    if position > 0 and (
        (bits & LONG_EXIT and not goes_short) or (goes_short and kind == FRACTION)
    ):
        size, fees = sell(account, position, down, fee, fixed_fee, np.nan, True, min_size)
        if size > 0:
            book(i, account, tally, trades, size, down, fees, -1.0)
    elif position < 0 and (
        (bits & SHORT_EXIT and not goes_long) or (goes_long and kind == FRACTION)
    ):
        size, fees = buy(account, -position, up, fee, fixed_fee, np.nan, True, min_size)
        if size > 0:
            book(i, account, tally, trades, size, up, fees, 1.0)
    wanted = np.inf
    if kind == VALUE:
        wanted = amount / price
    elif kind == UNITS:
        wanted = amount
    if goes_long:
        percent = amount if kind == FRACTION else np.nan
        wanted += abs(account[POSITION])
        size, fees = buy(account, wanted, up, fee, fixed_fee, percent, False, min_size)
        if size > 0:
            book(i, account, tally, trades, size, up, fees, 1.0)
    elif goes_short:
        percent = amount if kind == FRACTION else 1.0
        wanted += abs(account[POSITION])
        size, fees = sell(account, wanted, down, fee, fixed_fee, percent, False, min_size)
        if size > 0:
            book(i, account, tally, trades, size, down, fees, -1.0)
