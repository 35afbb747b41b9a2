"""The second gear: the same account by vectorbt, for its records, curves and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from finsight.backtesting.candle_arrays import CandleArrays, candle_ms
from finsight.backtesting.engine import Engine, Rules
from finsight.backtesting.kernel import LONG_ENTRY, LONG_EXIT, SHORT_ENTRY, SHORT_EXIT
from finsight.backtesting.single import rules_from
from finsight.backtesting.sizing import volatility_fractions
from finsight.backtesting.user_strategy import opened
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Direction, Execution

_SIZE_TYPES = {
    "all_in": "amount",
    "fraction": "percent",
    "value": "value",
    "units": "amount",
    "volatility": "percent",
}


def portfolio(
    candles: Any,
    strategy: str | Callable[..., Any] = "ma_cross",
    parameters: Mapping[str, Any] | None = None,
    **rules: Any,
) -> Any:
    """Return a `vectorbt.Portfolio` of one run: trades, equity, drawdowns, plots.

    `rules` are those of `run` (costs, execution, direction, stops, sizing), and its
    statistics are the same to 1e-9: a test holds the two equal.

    Raises:
        InvalidInput: as `run`; also for what vectorbt can't compute (funding, a stop-loss
            together with a trailing stop, a fraction of the cash with both directions).
    """
    import pandas as pd
    import vectorbt

    arrays, chosen = opened(candles, strategy)
    how: Rules = rules_from(rules)
    _refuse_what_vectorbt_lacks(how)
    values = chosen.check(parameters or {})
    events = Engine(arrays, chosen, how).events(values)
    step = np.timedelta64(candle_ms(arrays), "ms")
    times = pd.to_datetime(arrays.ts_ms, unit="ms", utc=True)
    next_open = how.execution is Execution.NEXT_OPEN
    stops, costs, sizing = how.stops, how.costs, how.sizing
    return vectorbt.Portfolio.from_signals(
        pd.Series(arrays.close, times),
        entries=events & LONG_ENTRY > 0,
        exits=events & LONG_EXIT > 0,
        short_entries=events & SHORT_ENTRY > 0,
        short_exits=events & SHORT_EXIT > 0,
        open=arrays.open,
        high=arrays.high,
        low=arrays.low,
        price=arrays.open if next_open else arrays.close,
        size=_sizes(arrays, how),
        size_type=_SIZE_TYPES[sizing.kind],
        init_cash=sizing.cash,
        fees=costs.fee,
        fixed_fees=costs.fixed_fee,
        slippage=costs.slippage,
        min_size=costs.smallest_order,
        sl_stop=_fraction(stops.stop_loss or stops.trailing_stop),
        sl_trail=stops.trailing_stop is not None,
        tp_stop=_fraction(stops.take_profit),
        stop_entry_price="fillprice",
        stop_exit_price="stopmarket",
        freq=step.astype("timedelta64[ns]"),
    )


def _sizes(arrays: CandleArrays, how: Rules) -> Any:
    if how.sizing.kind == "all_in":
        return np.inf
    if how.sizing.kind == "volatility":
        return volatility_fractions(arrays, how.sizing, how.shift)
    return how.sizing.amount


def _fraction(stop: float | None) -> float:
    return np.nan if stop is None else stop


def _refuse_what_vectorbt_lacks(rules: Rules) -> None:
    if rules.costs.funding:
        raise InvalidInput("vectorbt has no funding; leave it out for the detailed run")
    if rules.costs.impact:
        raise InvalidInput("vectorbt has no slippage by volume; leave the impact out")
    if rules.stops.stop_loss is not None and rules.stops.trailing_stop is not None:
        raise InvalidInput("vectorbt has either a stop-loss or a trailing stop, not both at once")
    if rules.sizing.kind in ("fraction", "volatility") and rules.direction is Direction.BOTH:
        raise InvalidInput("vectorbt can't reverse a position sized as a fraction of the cash")
