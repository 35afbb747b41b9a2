"""Does a strategy look into the future? Take the future away and see what changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from finsight.backtesting.candle_arrays import CandleArrays, head
from finsight.backtesting.kernel import LONG_ENTRY, LONG_EXIT, SHORT_ENTRY, SHORT_EXIT
from finsight.backtesting.strategies import Strategy, Values, indicator_row
from finsight.backtesting.user_strategy import opened
from finsight.domain.backtest import LookAhead
from finsight.domain.errors import InvalidInput
from finsight.domain.strategy import Direction
from finsight.domain.timeframe import from_ms

_NAMES = {
    LONG_ENTRY: "long entry",
    LONG_EXIT: "long exit",
    SHORT_ENTRY: "short entry",
    SHORT_EXIT: "short exit",
}


def check(
    candles: Any,
    strategy: str | Callable[..., Any] | Strategy,
    parameters: Mapping[str, Any] | None = None,
    histories: int = 20,
    seed: int = 0,
) -> LookAhead:
    """Compare signals and indicators on truncated histories with those on the whole one.

    What a strategy says of candle i may not change when the candles after i are removed.
    No account is involved, so that nothing but the signals can differ. The histories end
    at candles spread over the whole, one of them at every one of the last three, and one
    just before a signal where there is one.

    Raises:
        InvalidInput: bad candles or parameters, or the strategy itself failed.
    """
    arrays, chosen = opened(candles, strategy)
    return look_ahead(arrays, chosen, chosen.check(parameters or {}), histories, seed)


def look_ahead(
    candles: CandleArrays, strategy: Strategy, values: Values, histories: int = 20, seed: int = 0
) -> LookAhead:
    """`check`, on what has been checked already."""
    whole = _judged(candles, strategy, values)
    lengths = _lengths(whole["signals"], len(candles.close), histories, seed)
    first: tuple[int, str, int] | None = None
    for length in lengths:
        short = _judged(head(candles, length), strategy, values)
        for name, judged in short.items():
            differs = np.flatnonzero(~_same(judged, whole[name][:length]))
            if len(differs) and (first is None or differs[0] < first[0]):
                first = (int(differs[0]), name, length)
    if first is None:
        return LookAhead(found=False, histories=len(lengths))
    candle, name, length = first
    there = _judged(head(candles, length), strategy, values)[name][candle]
    here = whole[name][candle]
    if name == "signals":
        name = ", ".join(_columns_read(candles, strategy, values, length, whole)) or name
    told = str if first[1] != "signals" else _signal_names
    moment = from_ms(int(candles.ts_ms[candle])).isoformat()
    return LookAhead(
        found=True,
        histories=len(lengths),
        candle=candle,
        input=name,
        detail=(
            f"{first[1]} at candle {candle} ({moment}): {told(there)} when the history ends at "
            f"candle {length - 1}, {told(here)} when it goes on. Something computed for that "
            "candle reads later ones: look for a negative shift, a centred window, or a "
            "minimum, maximum or mean over the whole history."
        ),
    )


def _judged(candles: CandleArrays, strategy: Strategy, values: Values) -> dict[str, np.ndarray]:
    """Every indicator that has a name, then the signals: what can differ, inputs first."""
    keys = strategy.rows(values)
    rows = [indicator_row(candles, key) for key in keys]
    events = np.zeros(len(candles.close), dtype=np.uint8)
    strategy.mark(candles, rows, values, Direction.BOTH, 0, events)
    named = {f"{key[0]}({key[1]})": row for key, row in zip(keys, rows, strict=True)}
    return {**named, "signals": events}


def _columns_read(
    candles: CandleArrays,
    strategy: Strategy,
    values: Values,
    length: int,
    whole: Mapping[str, np.ndarray],
) -> list[str]:
    """Which columns reach back in time: changed after candle `length`, they change it before."""
    found = []
    for name in ("open", "high", "low", "close", "volume"):
        for factor in (0.5, 2.0):
            column = getattr(candles, name).copy()
            column[length:] *= factor
            judged = _judged(candles._replace(**{name: column}), strategy, values)
            if (judged["signals"][:length] != whole["signals"][:length]).any():
                found.append(name)
                break
    return found


def _lengths(signals: np.ndarray, candles: int, histories: int, seed: int) -> list[int]:
    if histories < 1:
        raise InvalidInput(f"at least one truncated history is needed, not {histories}")
    rng = np.random.default_rng(seed)
    spread = np.linspace(max(3, candles // (histories + 1)), candles - 1, histories)
    lengths = set(spread.astype(int)) | set(range(max(3, candles - 3), candles))
    at = np.flatnonzero(signals[2:-1]) + 3
    # A history that ends with the very candle of a signal sees nothing of what follows it.
    lengths |= (
        set(rng.choice(at, size=min(len(at), histories), replace=False)) if len(at) else set()
    )
    return sorted(int(length) for length in lengths if 3 <= length < candles)


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype == np.uint8:
        equal: np.ndarray = a == b
        return equal
    same: np.ndarray = (a == b) | (np.isnan(a) & np.isnan(b)) | (abs(a - b) <= 1e-9 * abs(b))
    return same


def _signal_names(bits: Any) -> str:
    names = [name for bit, name in _NAMES.items() if int(bits) & bit]
    return " and ".join(names) or "no signal"
