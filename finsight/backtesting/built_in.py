"""The strategies that come with FinSight."""

from __future__ import annotations

from finsight.backtesting.conditions import (
    CLOSE,
    Condition,
    Line,
    apart,
    averaged,
    band,
    begins,
    crosses,
    indicator,
    level,
    stays,
)
from finsight.backtesting.kernel import LONG_ENTRY, LONG_EXIT, SHORT_ENTRY, SHORT_EXIT
from finsight.backtesting.strategies import BuiltInStrategy
from finsight.domain.known_values import FORECAST, SENTIMENT
from finsight.domain.strategy import Parameter

BULLISH, BEARISH = LONG_ENTRY | SHORT_EXIT, SHORT_ENTRY | LONG_EXIT


def _beyond(value: Line) -> tuple[Condition, ...]:
    """Long above `enter` until below `leave`; short below -`enter` until above -`leave`."""
    return (
        stays(value, level("enter"), above=LONG_ENTRY),
        stays(value, level("leave"), below=LONG_EXIT),
        stays(value, level("enter", -1.0), below=SHORT_ENTRY),
        stays(value, level("leave", -1.0), above=SHORT_EXIT),
    )


def _whole(name: str, low: int, default: int, description: str) -> Parameter:
    return Parameter(
        name=name, kind="integer", low=low, high=100_000, default=default, description=description
    )


def _number(name: str, low: float, high: float, default: float, text: str) -> Parameter:
    return Parameter(
        name=name, kind="number", low=low, high=high, default=default, description=text
    )


_BUILT_IN = (
    BuiltInStrategy(
        "buy_and_hold",
        "Enter once, at the start, and stay.",
        (),
        (),
        (begins(LONG_ENTRY, SHORT_ENTRY),),
    ),
    BuiltInStrategy(
        "ma_cross",
        "Long when the fast average of the closes crosses above the slow, out (or short) below.",
        (
            _whole("fast", 1, 20, "candles in the fast average"),
            _whole("slow", 2, 50, "candles in the slow average"),
        ),
        (("simple_average", "fast"), ("simple_average", "slow")),
        (crosses(indicator(0), indicator(1), above=BULLISH, below=BEARISH),),
        ("fast", "slow"),
    ),
    BuiltInStrategy(
        "rsi",
        "Long when the RSI falls below `lower`, out (or short) when it rises above `upper`.",
        (
            _whole("window", 1, 14, "candles of Wilder's smoothing"),
            _number("lower", 0, 100, 30, "oversold below this"),
            _number("upper", 0, 100, 70, "overbought above this"),
        ),
        (("relative_strength", "window"),),
        (
            crosses(indicator(0), level("lower"), below=BULLISH),
            crosses(indicator(0), level("upper"), above=BEARISH),
        ),
        ("lower", "upper"),
    ),
    BuiltInStrategy(
        "bollinger",
        "Long when the close falls below the lower band, out when it is back above the average; "
        "short when it rises above the upper band, out when it is back below the average.",
        (
            _whole("window", 2, 20, "candles in the average and the deviation"),
            _number("width", 0.01, 100, 2, "how many deviations away the bands are"),
        ),
        (("simple_average", "window"), ("deviation", "window")),
        (
            crosses(CLOSE, band(0, 1, "width", -1.0), below=LONG_ENTRY),
            crosses(CLOSE, band(0, 1, "width", 1.0), above=SHORT_ENTRY),
            crosses(CLOSE, indicator(0), above=LONG_EXIT, below=SHORT_EXIT),
        ),
    ),
    BuiltInStrategy(
        "macd",
        "Long when the MACD line crosses above its signal line, out (or short) below.",
        (
            _whole("fast", 1, 12, "span of the fast average"),
            _whole("slow", 2, 26, "span of the slow average"),
            _whole("signal", 1, 9, "span of the signal line"),
        ),
        (("exponential_average", "fast"), ("exponential_average", "slow")),
        (crosses(apart(0, 1), averaged("signal"), above=BULLISH, below=BEARISH),),
        ("fast", "slow"),
    ),
    BuiltInStrategy(
        "donchian",
        "Long on a close above the highest high of the `entry` candles before, out on one below "
        "the lowest low of the `exit` candles before; short the other way round.",
        (
            _whole("entry", 1, 20, "candles whose extreme must be broken to enter"),
            _whole("exit", 1, 10, "candles whose extreme must be broken to leave"),
        ),
        (
            ("earlier_highest", "entry"),
            ("earlier_lowest", "entry"),
            ("earlier_highest", "exit"),
            ("earlier_lowest", "exit"),
        ),
        (
            stays(CLOSE, indicator(0), above=LONG_ENTRY),
            stays(CLOSE, indicator(1), below=SHORT_ENTRY),
            stays(CLOSE, indicator(2), above=SHORT_EXIT),
            stays(CLOSE, indicator(3), below=LONG_EXIT),
        ),
    ),
    BuiltInStrategy(
        "sentiment_momentum",
        "Long while the mean score of the articles known over the last `window` candles is above "
        "`enter`, out when it falls below `leave`; short the other way round. A window without "
        "an article says nothing, which is neither.",
        (
            _whole("window", 1, 24, "candles whose articles are averaged"),
            _number("enter", -1, 1, 0.2, "mean score, in [-1, 1], above which to be in"),
            _number("leave", -1, 1, 0.0, "mean score below which to be out"),
        ),
        (("sentiment_trend", "window"),),
        _beyond(indicator(0)),
        ("leave", "enter"),
        SENTIMENT,
    ),
    BuiltInStrategy(
        "forecast_threshold",
        "Long while the newest forecast, not older than `stale` candles, expects a log return "
        "above `enter`, out when it expects less than `leave`; short the other way round.",
        (
            _number("enter", -1, 1, 0.005, "expected log return above which to be in"),
            _number("leave", -1, 1, 0.0, "expected log return below which to be out"),
            _whole("stale", 1, 24, "candles after which a forecast says nothing any more"),
        ),
        (("forecast_move", "stale"),),
        _beyond(indicator(0)),
        ("leave", "enter"),
        FORECAST,
    ),
)

BUILT_IN: dict[str, BuiltInStrategy] = {strategy.name: strategy for strategy in _BUILT_IN}
