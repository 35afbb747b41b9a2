"""Several symbols' candles and worth at the same moments: a column a symbol."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def spread(
    times: np.ndarray, places: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]
) -> np.ndarray:
    """One column a symbol over all `times`; where it has no candle, nan, or zero bits."""
    kind = next(iter(columns.values())).dtype
    whole = np.full((len(times), len(places)), np.nan if kind.kind == "f" else 0, kind)
    for number, symbol in enumerate(places):
        whole[places[symbol], number] = columns[symbol]
    return whole


def carried(closes: np.ndarray) -> np.ndarray:
    """The last close known at each moment; nan before a symbol's first."""
    rows = np.where(np.isnan(closes), 0, np.arange(len(closes))[:, None])
    np.maximum.accumulate(rows, axis=0, out=rows)
    carried: np.ndarray = np.take_along_axis(closes, rows, axis=0)
    return carried


def worth_held(closes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """What holding every symbol from its first close on is worth, at equal first prices of 1."""
    first = np.argmax(~np.isnan(closes), axis=0)
    begun = closes[first, np.arange(closes.shape[1])]
    grown = np.where(np.isnan(closes), 1.0, closes / begun)
    worth: np.ndarray = 1.0 - shares.sum() + grown @ shares
    return worth
