"""The pictures of a backtest's page, as SVG within the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finsight.domain.candle_table import CandleTable
from finsight.domain.timeframe import to_ms

_WIDTH, _HEIGHT, _MARGIN = 900, 260, 60
_MOST_POINTS = 1_500
_MOST_TRADES = 500
_MOST_CELLS = 60


def line_chart(
    times: np.ndarray, lines: Sequence[tuple[str, str, np.ndarray]], over: str = ""
) -> str:
    """Lines (name, colour, values) over the same times; `over` is drawn on top of them."""
    low = min(float(values.min()) for _, _, values in lines)
    high = max(float(values.max()) for _, _, values in lines)
    span = (high - low) or 1.0
    drawn = []
    for place, (name, colour, values) in enumerate(lines):
        rows = _extremes(values)
        across = _MARGIN + (_WIDTH - _MARGIN) * rows / max(1, len(values) - 1)
        down = _HEIGHT * (1 - (values[rows] - low) / span)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
        drawn.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.3" points="{points}"/>'
            f'<text x="{_MARGIN + 10 + 90 * place}" y="-4" style="fill:{colour}">{name}</text>'
        )
    for level in np.linspace(low, high, 5):
        y = _HEIGHT * (1 - (level - low) / span)
        drawn.append(
            f'<line x1="{_MARGIN}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>'
            f'<text x="0" y="{y + 4:.1f}">{_level(level)}</text>'
        )
    first, last = str(times[0])[:10], str(times[-1])[:10]
    drawn.append(
        f'<text x="{_MARGIN}" y="{_HEIGHT + 20}">{first}</text>'
        f'<text x="{_WIDTH - 70}" y="{_HEIGHT + 20}">{last}</text>'
    )
    drawn.append(over)
    return f'<svg viewBox="0 -18 {_WIDTH} {_HEIGHT + 48}">{"".join(drawn)}</svg>'


def _level(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _extremes(values: np.ndarray) -> np.ndarray:
    """Rows to draw: of each stretch the lowest and the highest, so that no dip is lost."""
    if len(values) <= _MOST_POINTS:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), _MOST_POINTS // 2 + 1).astype(int)
    rows = {0, len(values) - 1}
    for low, high in pairwise(edges):
        rows |= {low + int(values[low:high].argmin()), low + int(values[low:high].argmax())}
    return np.array(sorted(rows))


def price_with_trades(candles: CandleTable, trades: pa.Table) -> str:
    """The closes, with a mark where a position was opened (full) and closed (hollow).

    Of more trades than can be told apart, the newest are marked, and that is said.
    """
    close = candles.column("close")
    times = candles.ts_ms.astype("datetime64[ms]")
    low, span = float(close.min()), float(close.max() - close.min()) or 1.0
    marks = []
    for trade in trades.slice(max(0, trades.num_rows - _MOST_TRADES)).to_pylist():
        colour = "#0a7d33" if trade["side"] > 0 else "#b00020"
        for moment, full in ((trade["entry_at"], True), (trade["exit_at"], False)):
            # A symbol may lack the last candle of an account's: its last close counts there.
            bar = min(int(np.searchsorted(candles.ts_ms, to_ms(moment))), len(close) - 1)
            x = _MARGIN + (_WIDTH - _MARGIN) * bar / max(1, len(close) - 1)
            y = _HEIGHT * (1 - (close[bar] - low) / span)
            filled = colour if full else "white"
            marks.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" stroke="{colour}" fill="{filled}"/>'
            )
    left_out = trades.num_rows - _MOST_TRADES
    note = f"<p>Of {trades.num_rows:,} trades, the newest {_MOST_TRADES} are marked.</p>"
    told = "<p>Full: opened; hollow: closed. Green: long; red: short.</p>"
    picture = line_chart(times, [("close", "#888", close)], "".join(marks))
    return picture + told + (note if left_out > 0 else "")


def parameter_map(sets: pa.Table, winner: Mapping[str, Any]) -> str:
    """Sharpe ratios over the two parameters that vary most, the winner framed.

    Of further parameters, and of series, the sets that have the winner's are shown. Many
    values of one parameter share a cell, which then shows their mean. Empty where fewer than
    two vary.
    """
    named = [name for name, value in winner.items() if isinstance(value, str)]
    for name in named:
        sets = sets.filter(pc.equal(sets.column(name), winner[name]))
    winner = {name: value for name, value in winner.items() if name not in named}
    columns = {name: sets.column(name).to_numpy() for name in winner}
    steps = {name: np.unique(column) for name, column in columns.items()}
    varied = sorted((n for n in winner if len(steps[n]) > 1), key=lambda n: -len(steps[n]))
    if len(varied) < 2:
        return ""
    across, up = varied[:2]
    rows = np.isfinite(sharpe := sets.column("sharpe").to_numpy(zero_copy_only=False))
    for name in varied[2:]:
        rows &= columns[name] == winner[name]
    wide, high = (min(_MOST_CELLS, len(steps[name])) for name in (across, up))
    x = np.searchsorted(steps[across], columns[across][rows]) * wide // len(steps[across])
    y = np.searchsorted(steps[up], columns[up][rows]) * high // len(steps[up])
    total, count = np.zeros((wide, high)), np.zeros((wide, high))
    np.add.at(total, (x, y), sharpe[rows])
    np.add.at(count, (x, y), 1)
    best = (
        int(np.searchsorted(steps[across], winner[across])) * wide // len(steps[across]),
        int(np.searchsorted(steps[up], winner[up])) * high // len(steps[up]),
    )
    mean = total / np.maximum(count, 1)
    most = float(np.abs(mean).max()) or 1.0
    dx, dy = (_WIDTH - _MARGIN) / wide, _HEIGHT / high
    cells = []
    for place in zip(*np.nonzero(count), strict=True):
        strength = round(255 * (1 - abs(mean[place]) / most))
        red, green = (strength, 255) if mean[place] > 0 else (255, strength)
        cells.append(
            f'<rect x="{_MARGIN + place[0] * dx:.1f}" y="{_HEIGHT - (place[1] + 1) * dy:.1f}" '
            f'width="{dx:.1f}" height="{dy:.1f}" fill="rgb({red},{green},{strength})"/>'
        )
    cells.append(
        f'<rect x="{_MARGIN + best[0] * dx:.1f}" y="{_HEIGHT - (best[1] + 1) * dy:.1f}" '
        f'width="{dx:.1f}" height="{dy:.1f}" fill="none" stroke="#000" stroke-width="2"/>'
    )
    low, top = steps[across][0], steps[across][-1]
    cells.append(
        f'<text x="{_MARGIN}" y="{_HEIGHT + 20}">{across} {low:g} to {top:g}, to the right; '
        f"{up} {steps[up][0]:g} to {steps[up][-1]:g}, upwards; green above 0, red below, "
        f"strongest at {most:.2f}</text>"
    )
    return f'<svg viewBox="0 -10 {_WIDTH} {_HEIGHT + 40}">{"".join(cells)}</svg>'
