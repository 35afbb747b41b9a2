"""How much of the winner is luck: what every sweep says beside its best parameter set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from finsight.backtesting.tallies import Market

_EULER = 0.5772156649015329
SIGNIFICANT = 0.95


def expected_best_sharpe(trials: int, deviation: float) -> float:
    """The Sharpe ratio that the best of `trials` worthless strategies is expected to have.

    deviation ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e))), z the normal quantile, g Euler's
    constant, `deviation` that of the trials' Sharpe ratios. Source: Bailey and López de
    Prado 2014, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5).
    """
    if trials < 2:
        return 0.0
    quantile = NormalDist().inv_cdf
    best = (1 - _EULER) * quantile(1 - 1 / trials)
    return deviation * (best + _EULER * quantile(1 - 1 / (trials * math.e)))


def deflated_sharpe(
    sharpe: float,
    returns: int,
    skewness: float,
    kurtosis: float,
    trials: int,
    deviation: float,
) -> float:
    """The probability that the true Sharpe ratio is above 0, after `trials` were tried.

    Phi((S - S0) sqrt(n - 1) / sqrt(1 - skew S + (kurt - 1) / 4 S²)), S0 the expected best
    of as many worthless ones. S, S0 and `deviation` are per candle, not a year. Below 0.95
    it is not significant. Source as `expected_best_sharpe`.
    """
    spread = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if not spread > 0 or returns < 2:
        return math.nan
    above = sharpe - expected_best_sharpe(trials, deviation)
    return NormalDist().cdf(above * math.sqrt(returns - 1) / math.sqrt(spread))


def winner(
    table: pa.Table, parameters: Sequence[str], candles: int, market: Market
) -> dict[str, Any]:
    """The set with the highest Sharpe ratio, and how far to trust it.

    trials: the parameter sets whose Sharpe ratio is defined: those really tried.
    """
    sharpe = table.column("sharpe").to_numpy(zero_copy_only=False).astype(np.float64)
    defined = np.isfinite(sharpe)
    if not defined.any():
        return {}
    best = int(np.nanargmax(np.where(defined, sharpe, np.nan)))
    a_candle = sharpe[defined] / math.sqrt(market.a_year)
    deviation = float(a_candle.std(ddof=1)) if len(a_candle) > 1 else 0.0
    row = {name: table.column(name)[best].as_py() for name in table.column_names}
    deflated = deflated_sharpe(
        row["sharpe"] / math.sqrt(market.a_year),
        candles,
        row["skewness"],
        row["kurtosis"],
        len(a_candle),
        deviation,
    )
    return {
        "row": best,
        "parameters": {name: row[name] for name in parameters},
        "sharpe": row["sharpe"],
        "total_return": row["total_return"],
        "trials": len(a_candle),
        "expected_best_sharpe_by_luck": expected_best_sharpe(len(a_candle), deviation)
        * math.sqrt(market.a_year),
        "deflated_sharpe": None if math.isnan(deflated) else deflated,
        "significant": bool(deflated >= SIGNIFICANT),
        "sensitivity": sensitivity(table, parameters, best),
    }


def sensitivity(
    table: pa.Table, parameters: Sequence[str], row: int, metric: str = "sharpe"
) -> dict[str, Any]:
    """What happens to `metric` one step of the grid away from `row`, in every direction.

    A plateau: the neighbours keep at least half of it on average, and none of them turns
    it round. Otherwise a spike, which a change of weather will remove; or a loss, where
    there is nothing to keep. Neighbours that the strategy ruled out, or a sample didn't
    pick, are not there to be looked at.
    """
    columns = {n: table.column(n).to_numpy(zero_copy_only=False) for n in parameters}
    steps = {n: np.unique(column) for n, column in columns.items()}
    near = np.ones(table.num_rows, dtype=bool)
    for name, column in columns.items():
        place = np.searchsorted(steps[name], column)
        near &= np.abs(place - np.searchsorted(steps[name], column[row])) <= 1
    near[row] = False
    values = table.column(metric).to_numpy(zero_copy_only=False).astype(np.float64)
    around = values[near & np.isfinite(values)]
    if not len(around):
        return {"neighbours": 0, "shape": "unknown"}
    own = float(values[row])
    found = {
        "neighbours": len(around),
        "average": float(around.mean()),
        "worst": float(around.min()),
    }
    if own <= 0:
        return {**found, "shape": "loss"}
    kept = float(around.mean()) / own
    flat = kept >= 0.5 and bool((around > 0).all())
    return {**found, "kept": kept, "shape": "plateau" if flat else "spike"}
