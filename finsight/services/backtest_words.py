"""A backtest in words, for the terminal and for the page: never the figures without the doubts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finsight.domain.backtest_record import BacktestRecord
from finsight.domain.timeframe import from_ms

_SHARES = (
    "total_return", "annual_return", "volatility", "max_drawdown", "average_drawdown", "exposure",
    "win_rate", "best_trade", "worst_trade", "average_trade", "expectancy", "alpha", "kelly",
)  # fmt: skip
FIRST = (
    "total_return", "annual_return", "volatility", "sharpe", "sortino", "calmar", "omega",
    "max_drawdown", "max_drawdown_days", "exposure", "trades", "win_rate", "profit_factor",
    "fees_paid", "turnover", "alpha", "beta",
)  # fmt: skip


def title_of(record: BacktestRecord) -> str:
    """What was tested, and how its parameters were come by."""
    made = told_parameters(record.figures.get("parameters"))
    what = record.request.strategy + (f"({made})" if made else "")
    if record.request.kind == "sweep":
        return f"best of {record.figures['sets']:,} sets of {record.request.strategy}: {what}"
    if record.request.kind == "walk-forward":
        return f"{what}, out of sample: parameters chosen on the past alone"
    if record.request.kind == "together":
        return f"{what}, {len(record.fingerprints)} series on one account"
    return what


def doubts(record: BacktestRecord) -> list[str]:
    """What a reader has to know before believing the figures, a line each."""
    figures, made_by = record.figures, record.provenance
    missing = made_by.missing
    lines = [
        f"candles          {missing.candles:,} missing, holes: {missing.holes:,}, the longest "
        f"{missing.longest:,}; nothing was filled in"
        if missing.candles
        else "candles          none missing"
    ]
    seen = made_by.look_ahead
    if seen.found is None:
        lines.append("look-ahead       not checked")
    elif seen.found:
        lines.append(f"look-ahead       FOUND, these figures are worthless: {seen.detail}")
    else:
        lines.append(f"look-ahead       none found in {seen.histories} truncated histories")
    late = figures["one_candle_late"].get("total_return")
    if late is not None:
        now = figures["statistics"]["total_return"]
        lines.append(
            f"one candle late  {told('total_return', late)} instead of "
            f"{told('total_return', now)}: what is gone then was never there to be earned"
        )
    if figures["statistics"].get("ruined"):
        lines.append(
            "ruin             the account fell to zero or below; what follows means nothing"
        )
    if not (made_by.costs.fee or made_by.costs.slippage or made_by.costs.fixed_fee):
        lines.append("costs            none were paid: nobody trades for nothing")
    if made_by.execution == "close":
        lines.append("execution        at the very price the signal was computed from")
    if record.request.kind == "sweep":
        lines += _luck_lines(figures.get("luck"))
    return lines


def what_made_it(record: BacktestRecord) -> list[str]:
    """The candles, the execution and the costs."""
    request, made_by = record.request, record.provenance
    stops = ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in request.stops.model_dump().items()
        if value is not None
    )
    first, last = from_ms(made_by.first_opened_ms), from_ms(made_by.last_opened_ms)
    executed = "next candle's open" if request.execution == "next_open" else "signal's own close"
    # Of many series a sweep shows its winner on the one that it was found on.
    on, costs = record.figures.get("series"), made_by.costs
    lines = [
        f"{on or request.source}, {made_by.candles:,} candles, {first:%Y-%m-%d %H:%M} to "
        f"{last:%Y-%m-%d %H:%M} UTC",
        f"{request.direction}, orders at the {executed}, fee {costs.fee:.3%}, slippage "
        f"{costs.slippage:.3%}" + (f", {stops}" if stops else ""),
    ]
    if on:
        tried = len(request.costs_tried) or 1
        lines.append(f"searched: {request.source}; {tried} different costs")
    if request.kind == "together":
        lines.append(_shares(record))
    return lines


def _shares(record: BacktestRecord) -> str:
    request = record.request
    said = ", ".join(f"{name} {share:.0%}" for name, share in request.weights.items())
    again = (
        f"brought back to them every {request.rebalance:,} candles"
        if request.rebalance
        else "never brought back to them"
    )
    return f"weights: {said or 'equal'}, {again}"


def _luck_lines(luck: Mapping[str, Any] | None) -> list[str]:
    if luck is None:
        return ["luck             nothing to judge: no set has a Sharpe ratio"]
    deflated = luck["deflated_sharpe"]
    verdict = "significant" if luck["significant"] else "NOT significant: luck explains it"
    near = luck["sensitivity"]
    return [
        f"deflated Sharpe  {told('', deflated)} after {luck['trials']:,} trials, {verdict} "
        f"(0.95 is asked for); the best of as many worthless sets has a Sharpe ratio of "
        f"{luck['expected_best_sharpe_by_luck']:.2f}",
        f"around it        {near['shape']}"
        + (f": {near['neighbours']} neighbours, on average {near['average']:.2f}, "
           f"the worst {near['worst']:.2f}" if near["neighbours"] else ": no neighbours"),
        f"overfitting      {told('win_rate', luck['probability_of_overfitting'])} of "
        f"{luck['overfitting_splits']:,} splits put the winner of one half below the median of "
        f"the other, over {luck['overfitting_sets']:,} sets; picking blindly gives 50 %"
        if luck["probability_of_overfitting"] is not None
        else f"overfitting      not known: {luck['overfitting_missing']}",
        f"permutation      p = {luck['permutation_p_value']:.3f}: how often as good a winner "
        f"turned up in {luck['permutation_shuffles']} shuffled histories"
        if luck["permutation_p_value"] is not None
        else f"permutation      not known: {luck['permutation_missing']}",
    ]  # fmt: skip


def told_parameters(values: Mapping[str, Any] | None) -> str:
    """As `fast=10, slow=50`."""
    return ", ".join(
        f"{name}={value if isinstance(value, str) else f'{value:g}'}"
        for name, value in (values or {}).items()
    )


def told(name: str, value: Any) -> str:
    """One figure as a person reads it; one that is not defined is a dash."""
    if value is None or value != value:
        return "–"
    if isinstance(value, str):
        return value
    if name in _SHARES:
        return f"{value:.2%}"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.2f}"
