"""A backtest as one page that stands alone: no script, no font and no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finsight.domain.backtest_record import BacktestRecord
from finsight.domain.candle_table import CandleTable
from finsight.domain.timeframe import from_ms
from finsight.services.backtest_pictures import line_chart, parameter_map, price_with_trades
from finsight.services.backtest_words import FIRST, doubts, title_of, told, what_made_it

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; color: #222 }
table { border-collapse: collapse } td, th { padding: 2px 12px 2px 0; text-align: right }
td:first-child, th:first-child { text-align: left } svg { width: 100%; height: auto }
.doubts { background: #fff7e0; padding: .6em 1em } .loss { color: #b00020 }
text { font-size: 12px; fill: #666 } h2 { margin-top: 1.6em }
"""


def report_page(
    record: BacktestRecord, tables: Mapping[str, pa.Table], candles: Mapping[str, CandleTable]
) -> str:
    """Return the page: doubts first, then equity against holding, drawdown, months, figures.

    `tables` are those kept with the record, `candles` those that it saw, by their series.
    """
    made = "".join(f"<p>{escape(line)}</p>" for line in what_made_it(record))
    warned = "".join(f"<p>{escape(line)}</p>" for line in doubts(record))
    parts = [
        f"<h1>{escape(title_of(record))}</h1>{made}",
        f'<div class="doubts">{warned}</div>',
    ]
    if "equity" in tables:
        equity = tables["equity"]
        # Of several series, those of one account, or the one that the winner was found on.
        series = record.figures.get("series")
        shown = {series: candles[series]} if series else candles
        parts += _pictures(equity, _held(equity, next(iter(shown.values()))))
        ts = equity.column("ts").cast(pa.int64()).to_numpy()
        for name, table in shown.items():
            seen = table.between(from_ms(int(ts[0])), from_ms(int(ts[-1]) + 1))
            own = _trades_of(tables["trades"], name)
            of = f" of {escape(name)}" if len(shown) > 1 else ""
            parts.append(f"<h2>Trades on the price{of}</h2>{price_with_trades(seen, own)}")
    if "sets" in tables:
        picture = parameter_map(tables["sets"], record.figures["parameters"] or {})
        if picture:
            parts.append(f"<h2>Sharpe ratio by parameters</h2>{picture}")
    parts.append(f"<h2>Statistics</h2>{_statistics(record)}")
    made_by = record.provenance
    parts.append(
        f"<p>{escape(record.id)}, made {record.made_at:%Y-%m-%d %H:%M} UTC by engine "
        f"{made_by.engine_version}, seed {record.request.seed}, candles "
        f"{', '.join(record.fingerprints.values())}</p>"
    )
    title = escape(f"{record.request.strategy} on {record.request.source}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _held(equity: pa.Table, candles: CandleTable) -> np.ndarray:
    """What holding became of 1: several symbols' account says so itself."""
    if "held" in equity.column_names:
        worth: np.ndarray = equity.column("held").to_numpy()
        return np.asarray(worth / worth[0])
    at = np.searchsorted(candles.ts_ms, equity.column("ts").cast(pa.int64()).to_numpy())
    close = candles.column("close")[at]
    return np.asarray(close / close[0])


def _trades_of(trades: pa.Table, symbol: str) -> pa.Table:
    if "symbol" not in trades.column_names:
        return trades
    return trades.filter(pc.equal(trades.column("symbol"), symbol))


def _pictures(equity: pa.Table, held: np.ndarray) -> list[str]:
    ts = equity.column("ts").cast(pa.int64()).to_numpy()
    value = equity.column("equity").to_numpy()
    times = ts.astype("datetime64[ms]")
    return [
        "<h2>Equity against buy and hold</h2>"
        + line_chart(times, [("strategy", "#1a56db", value / value[0]), ("held", "#999", held)]),
        "<h2>Drawdown</h2>"
        + line_chart(times, [("strategy", "#b00020", equity.column("drawdown").to_numpy())]),
        "<h2>Returns by month</h2>" + _months(times, value, held),
    ]


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
