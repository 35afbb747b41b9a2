"""The strategies that come with FinSight."""

from __future__ import annotations

import numpy as np

from finsight.backtesting.indicators import exponential_average, mark_crossings, mark_levels
from finsight.backtesting.kernel import LONG_ENTRY, LONG_EXIT, SHORT_ENTRY, SHORT_EXIT
from finsight.backtesting.strategies import BuiltInStrategy, Marking
from finsight.domain.known_values import FORECAST, SENTIMENT
from finsight.domain.strategy import Parameter

BULLISH, BEARISH = LONG_ENTRY | SHORT_EXIT, SHORT_ENTRY | LONG_EXIT


def _buy_and_hold(to: Marking) -> None:
    if to.shift < len(to.events):
        to.events[to.shift] = LONG_ENTRY if to.sides & LONG_ENTRY else SHORT_ENTRY


def _ma_cross(to: Marking) -> None:
    fast, slow = to.rows
    _crossings(to, fast, slow, BULLISH, BEARISH)


def _rsi(to: Marking) -> None:
    strength = to.rows[0]
    _crossings(to, strength, np.full(len(strength), to.values["lower"]), 0, BULLISH)
    _crossings(to, strength, np.full(len(strength), to.values["upper"]), BEARISH, 0)


def _bollinger(to: Marking) -> None:
    close, middle = to.candles.close, to.rows[0]
    width = to.values["width"] * to.rows[1]
    _crossings(to, close, middle - width, 0, LONG_ENTRY)
    _crossings(to, close, middle + width, SHORT_ENTRY, 0)
    _crossings(to, close, middle, LONG_EXIT, SHORT_EXIT)


def _macd(to: Marking) -> None:
    line = to.rows[0] - to.rows[1]
    signal = exponential_average(line, int(to.values["signal"]))
    _crossings(to, line, signal, BULLISH, BEARISH)


def _donchian(to: Marking) -> None:
    close = to.candles.close
    high, low, exit_high, exit_low = to.rows
    for level, above, below in (
        (high, LONG_ENTRY, 0),
        (low, 0, SHORT_ENTRY),
        (exit_high, SHORT_EXIT, 0),
        (exit_low, 0, LONG_EXIT),
    ):
        mark_levels(close, level, above & to.sides, below & to.sides, to.shift, to.events)


def _sentiment_momentum(to: Marking) -> None:
    trend = to.rows[0]
    _beyond(to, trend, to.values["enter"], to.values["leave"])


def _forecast_threshold(to: Marking) -> None:
    move = to.rows[0]
    _beyond(to, move, to.values["enter"], to.values["leave"])


def _beyond(to: Marking, value: np.ndarray, enter: float, leave: float) -> None:
    """Long above `enter` until below `leave`; short below -`enter` until above -`leave`."""
    for level, above, below in (
        (enter, LONG_ENTRY, 0),
        (leave, 0, LONG_EXIT),
        (-enter, 0, SHORT_ENTRY),
        (-leave, SHORT_EXIT, 0),
    ):
        levels = np.full(len(value), level)
        mark_levels(value, levels, above & to.sides, below & to.sides, to.shift, to.events)


def _crossings(to: Marking, a: np.ndarray, b: np.ndarray, above: int, below: int) -> None:
    mark_crossings(a, b, above & to.sides, below & to.sides, to.shift, to.events)


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
        lambda v: (),
        _buy_and_hold,
    ),
    BuiltInStrategy(
        "ma_cross",
        "Long when the fast average of the closes crosses above the slow, out (or short) below.",
        (
            _whole("fast", 1, 20, "candles in the fast average"),
            _whole("slow", 2, 50, "candles in the slow average"),
        ),
        lambda v: (("simple_average", int(v["fast"])), ("simple_average", int(v["slow"]))),
        _ma_cross,
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
        lambda v: (("relative_strength", int(v["window"])),),
        _rsi,
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
        lambda v: (("simple_average", int(v["window"])), ("deviation", int(v["window"]))),
        _bollinger,
    ),
    BuiltInStrategy(
        "macd",
        "Long when the MACD line crosses above its signal line, out (or short) below.",
        (
            _whole("fast", 1, 12, "span of the fast average"),
            _whole("slow", 2, 26, "span of the slow average"),
            _whole("signal", 1, 9, "span of the signal line"),
        ),
        lambda v: (
            ("exponential_average", int(v["fast"])),
            ("exponential_average", int(v["slow"])),
        ),
        _macd,
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
        lambda v: (
            ("earlier_highest", int(v["entry"])),
            ("earlier_lowest", int(v["entry"])),
            ("earlier_highest", int(v["exit"])),
            ("earlier_lowest", int(v["exit"])),
        ),
        _donchian,
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
        lambda v: (("sentiment_trend", int(v["window"])),),
        _sentiment_momentum,
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
        lambda v: (("forecast_move", int(v["stale"])),),
        _forecast_threshold,
        ("leave", "enter"),
        FORECAST,
    ),
)

BUILT_IN: dict[str, BuiltInStrategy] = {strategy.name: strategy for strategy in _BUILT_IN}
