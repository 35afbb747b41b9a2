"""Candles as a client asks for them: JSON, CSV or an Arrow stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from starlette.exceptions import HTTPException

from finsight.domain.candle_table import SCHEMA, CandleTable


class CandleFormat(StrEnum):
    """A media type that candles can be sent as."""

    JSON = "application/json"
    CSV = "text/csv"
    ARROW = "application/vnd.apache.arrow.stream"


_MATCHES: Mapping[str, CandleFormat] = {
    "*/*": CandleFormat.JSON,
    "application/*": CandleFormat.JSON,
    "text/*": CandleFormat.CSV,
    **{kind.value: kind for kind in CandleFormat},
}


def chosen_format(accept: str | None) -> CandleFormat:
    """Return what an `Accept` header likes best.

    Raises:
        HTTPException: 406, it takes none of them.
    """
    if not accept:
        return CandleFormat.JSON
    best: tuple[float, CandleFormat] | None = None
    for choice in accept.split(","):
        media_type, *parameters = (part.strip() for part in choice.split(";"))
        found = _MATCHES.get(media_type.lower())
        weight = _weight(parameters)
        if found is not None and weight > 0 and (best is None or weight > best[0]):
            best = (weight, found)
    if best is None:
        offered = ", ".join(CandleFormat)
        raise HTTPException(406, f"candles come as {offered}; not as {accept[:200]}")
    return best[1]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def as_json(candles: CandleTable, complete: np.ndarray | None, around: dict[str, Any]) -> bytes:
    """Return `around` as a JSON object with `candles` in it."""
    rows = candle_rows(candles, complete)
    return json.dumps({**around, "candles": rows}, separators=(",", ":")).encode()


def candle_rows(candles: CandleTable, complete: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Return the candles as JSON objects, with ISO opening times."""
    columns: dict[str, list[Any]] = {"opened_at": _opening_times(candles)}
    columns |= {name: candles.column(name).tolist() for name in SCHEMA.names[1:]}
    if complete is not None:
        columns["complete"] = complete.tolist()
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def as_csv(candles: CandleTable, complete: np.ndarray | None = None) -> bytes:
    """Return a header line and one line a candle, with ISO opening times."""
    opened_at = pa.array(_opening_times(candles), pa.string())
    table = _with_complete(candles.arrow.set_column(0, "opened_at", opened_at), complete)
    # Arrow quotes every header; a header as plain as the values below it reads better.
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink, options)
    header: str = ",".join(table.column_names)
    rows: bytes = sink.getvalue().to_pybytes()
    return f"{header}\n".encode() + rows


def as_arrow(candles: CandleTable, complete: np.ndarray | None = None) -> bytes:
    """Return an Arrow IPC stream with the columns ts, open, high, low, close, volume."""
    table = _with_complete(candles.arrow, complete)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _with_complete(table: pa.Table, complete: np.ndarray | None) -> pa.Table:
    return table if complete is None else table.append_column("complete", pa.array(complete))


def _opening_times(candles: CandleTable) -> list[str]:
    moments = candles.ts_ms.astype("datetime64[ms]").astype("datetime64[s]")
    return [f"{moment}Z" for moment in np.datetime_as_string(moments).tolist()]
