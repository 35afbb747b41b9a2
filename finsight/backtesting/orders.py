"""Buying and selling: what an order does to an account, to the last rounding as in vectorbt."""

from __future__ import annotations

import numpy as np

from finsight.backtesting.compiled import inlined

# Rows of `account`: what is held. The rest are in kernel.py.
CASH, POSITION, DEBT, FREE_CASH = 0, 1, 2, 3
ACCOUNT_ROWS = 11


@inlined
def is_close(a: float, b: float) -> bool:
    """Equal up to rounding, with vectorbt's tolerances: 1e-9 relative, 1e-12 absolute."""
    if np.isinf(a) or np.isinf(b):
        return False
    return a == b or abs(a - b) <= max(1e-9 * max(abs(a), abs(b)), 1e-12)


@inlined
def add(a: float, b: float) -> float:
    """a + b, where what is only rounding left over is 0."""
    if is_close(a, -b):
        return 0.0
    return a + b


@inlined
def buy(
    account: np.ndarray,
    size: float,
    price: float,
    fee: float,
    fixed_fee: float,
    percent: float,
    cover_only: bool,
    min_size: float,
) -> tuple[float, float]:
    """Buy up to `size` with the cash there is; return the size filled (0: none) and the fees.

    `price` already holds the slippage. `percent` limits the cash used (nan: all of it).
    """
    cash, position = account[CASH], account[POSITION]
    limit = cash if np.isnan(percent) else min(cash, percent * cash)
    if limit == 0 and not cover_only:
        return 0.0, 0.0
    if cover_only:
        size = min(-position, size)
    if size == 0:
        return 0.0, 0.0
    value = size * price
    fees = value * fee + fixed_fee
    spent = value + fees
    if not (is_close(spent, limit) or spent < limit):
        value = add(limit, -fixed_fee) / (1 + fee)
        if value <= 0:
            return 0.0, 0.0
        size, fees, spent = value / price, limit - value, limit
    if size <= 1e-12 or (size < min_size and not is_close(size, min_size)):
        return 0.0, 0.0
    after = add(position, size)
    if position < 0:
        repaid = (size if after < 0 else -position) * (account[DEBT] / -position)
        account[DEBT] = add(account[DEBT], -repaid)
        account[FREE_CASH] = add(account[FREE_CASH] + 2 * repaid, -spent)
    else:
        account[FREE_CASH] = add(account[FREE_CASH], -spent)
    account[CASH] = add(cash, -spent)
    account[POSITION] = after
    return size, fees


@inlined
def sell(
    account: np.ndarray,
    size: float,
    price: float,
    fee: float,
    fixed_fee: float,
    percent: float,
    close_only: bool,
    min_size: float,
) -> tuple[float, float]:
    """Sell `size`, going short where that is more than is held; an infinite size is all in.

    All in, short: as much as the free cash would buy, after fees. Returns as `buy`.
    """
    position, free_cash = account[POSITION], account[FREE_CASH]
    if close_only:
        size = min(position, size)
    elif np.isinf(size):
        held = max(position, 0.0)
        free = add(free_cash, held * price * (1 - fee))
        if free <= 0:
            if position <= 0:
                return 0.0, 0.0
            size = held
        else:
            size = add(held, add(free, -fixed_fee) / (price * (1 + fee)))
            if size <= 0:
                return 0.0, 0.0
        size = percent * size
    if is_close(size, 0.0) or (size < min_size and not is_close(size, min_size)):
        return 0.0, 0.0
    value = size * price
    fees = value * fee + fixed_fee
    received = add(value, -fees)
    if received < 0:
        return 0.0, 0.0
    after = add(position, -size)
    if after < 0:
        borrowed = (size if position < 0 else -after) * price
        account[DEBT] += borrowed
        account[FREE_CASH] = add(free_cash, add(received, -2 * borrowed))
    else:
        account[FREE_CASH] = free_cash + received
    account[CASH] += received
    account[POSITION] = after
    return size, fees
