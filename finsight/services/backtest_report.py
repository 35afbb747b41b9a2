"""A backtest as one page that stands alone: no script, no font and no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np
import pyarrow as pa

from finsight.domain.backtest_record import BacktestRecord
from finsight.domain.candle_table import CandleTable
from finsight.services.backtest_words import FIRST, doubts, title_of, told, what_made_it

_WIDTH, _HEIGHT, _MARGIN = 900, 260, 60
_MOST_POINTS = 1_500
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; color: #222 }
table { border-collapse: collapse } td, th { padding: 2px 12px 2px 0; text-align: right }
td:first-child, th:first-child { text-align: left } svg { width: 100%; height: auto }
.doubts { background: #fff7e0; padding: .6em 1em } .loss { color: #b00020 }
text { font-size: 12px; fill: #666 } h2 { margin-top: 1.6em }
"""


def report_page(
    record: BacktestRecord, tables: Mapping[str, pa.Table], candles: CandleTable
) -> str:
    """Return the page: doubts first, then equity against holding, drawdown, months, figures.

    `tables` are those kept with the record, `candles` those that it saw.
    """
    made = "".join(f"<p>{escape(line)}</p>" for line in what_made_it(record))
    warned = "".join(f"<p>{escape(line)}</p>" for line in doubts(record))
    parts = [
        f"<h1>{escape(title_of(record))}</h1>{made}",
        f'<div class="doubts">{warned}</div>',
    ]
    if "equity" in tables:
        parts += _pictures(tables["equity"], candles)
    parts.append(f"<h2>Statistics</h2>{_statistics(record)}")
    made_by = record.provenance
    parts.append(
        f"<p>{escape(record.id)}, made {record.made_at:%Y-%m-%d %H:%M} UTC by engine "
        f"{made_by.engine_version}, seed {record.request.seed}, candles "
        f"{made_by.data_fingerprint}</p>"
    )
    title = escape(f"{record.request.strategy} on {record.request.source}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _pictures(equity: pa.Table, candles: CandleTable) -> list[str]:
    ts = equity.column("ts").cast(pa.int64()).to_numpy()
    value = equity.column("equity").to_numpy()
    at = np.searchsorted(candles.ts_ms, ts)
    held = candles.column("close")[at] / candles.column("close")[at[0]]
    times = ts.astype("datetime64[ms]")
    return [
        "<h2>Equity against buy and hold</h2>"
        + _chart(times, [("strategy", "#1a56db", value / value[0]), ("held", "#999", held)]),
        "<h2>Drawdown</h2>"
        + _chart(times, [("strategy", "#b00020", equity.column("drawdown").to_numpy())]),
        "<h2>Returns by month</h2>" + _months(times, value, held),
    ]


def _chart(times: np.ndarray, lines: Sequence[tuple[str, str, np.ndarray]]) -> str:
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
            f'<text x="{_MARGIN + 10 + 90 * place}" y="14" style="fill:{colour}">{name}</text>'
        )
    for level in np.linspace(low, high, 5):
        y = _HEIGHT * (1 - (level - low) / span)
        drawn.append(
            f'<line x1="{_MARGIN}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>'
            f'<text x="0" y="{y + 4:.1f}">{level:.3g}</text>'
        )
    first, last = str(times[0])[:10], str(times[-1])[:10]
    drawn.append(
        f'<text x="{_MARGIN}" y="{_HEIGHT + 20}">{first}</text>'
        f'<text x="{_WIDTH - 70}" y="{_HEIGHT + 20}">{last}</text>'
    )
    return f'<svg viewBox="0 -10 {_WIDTH} {_HEIGHT + 40}">{"".join(drawn)}</svg>'


def _extremes(values: np.ndarray) -> np.ndarray:
    """Rows to draw: of each stretch the lowest and the highest, so that no dip is lost."""
    if len(values) <= _MOST_POINTS:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), _MOST_POINTS // 2 + 1).astype(int)
    rows = {0, len(values) - 1}
    for low, high in pairwise(edges):
        rows |= {low + int(values[low:high].argmin()), low + int(values[low:high].argmax())}
    return np.array(sorted(rows))


def _months(times: np.ndarray, value: np.ndarray, held: np.ndarray) -> str:
    months = times.astype("datetime64[M]")
    ends = np.flatnonzero(np.append(months[1:] != months[:-1], True)).tolist()
    rows = []
    before = 0
    for end in ends:
        gained, gained_held = value[end] / value[before] - 1, held[end] / held[before] - 1
        cells = "".join(
            f'<td class="{"loss" if each < 0 else ""}">{each:.2%}</td>'
            for each in (gained, gained_held)
        )
        rows.append(f"<tr><td>{months[end]}</td>{cells}</tr>")
        before = end
    return f"<table><tr><th>month<th>strategy<th>held</tr>{''.join(rows)}</table>"


def _statistics(record: BacktestRecord) -> str:
    figures = record.figures
    columns = [figures["statistics"], figures["buy_and_hold"], figures["one_candle_late"]]
    names = [*FIRST, *(name for name in columns[0] if name not in FIRST)]
    rows = "".join(
        f"<tr><td>{name.replace('_', ' ')}</td>"
        + "".join(f"<td>{told(name, column.get(name))}</td>" for column in columns)
        + "</tr>"
        for name in names
    )
    return "<table><tr><th><th>strategy<th>buy and hold<th>one candle late</tr>" + rows + "</table>"
