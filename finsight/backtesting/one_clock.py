"""Several symbols' candles, signals and worth at the same moments: a column a symbol."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from finsight.backtesting.kernel import LONG_ENTRY, LONG_EXIT


def spread(
    times: np.ndarray, places: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]
) -> np.ndarray:
    """One column a symbol over all `times`; nan where it has no candle."""
    whole = np.full((len(times), len(places)), np.nan)
    for number, symbol in enumerate(places):
        whole[places[symbol], number] = columns[symbol]
    return whole


def carried(closes: np.ndarray) -> np.ndarray:
    """The last close known at each moment; nan before a symbol's first."""
    rows = np.where(np.isnan(closes), 0, np.arange(len(closes))[:, None])
    np.maximum.accumulate(rows, axis=0, out=rows)
    carried: np.ndarray = np.take_along_axis(closes, rows, axis=0)
    return carried


def target_weights(
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


def worth_held(closes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """What holding every symbol from its first close on is worth, at equal first prices of 1."""
    first = np.argmax(~np.isnan(closes), axis=0)
    begun = closes[first, np.arange(closes.shape[1])]
    grown = np.where(np.isnan(closes), 1.0, closes / begun)
    worth: np.ndarray = 1.0 - shares.sum() + grown @ shares
    return worth
