"""Files of values: one row a series and time, or a column a series, as CSV or Parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from finsight.domain.errors import InvalidInput
from finsight.domain.history import History

SERIES_COLUMNS = ("unique_id", "series")
TIME_COLUMNS = ("ds", "ts", "date", "time", "timestamp")
VALUE_COLUMNS = ("y", "close", "value")


def read_values(path: Path) -> dict[str, History]:
    """Return the histories that `path` holds, by series.

    Long: a column of `SERIES_COLUMNS`, one of `TIME_COLUMNS`, one of `VALUE_COLUMNS`. Wide,
    as the ETT files are: a time column, and every other column a series of its own. A
    file with a time and one value column is one series, named after the file.

    Raises: InvalidInput (what is wrong, where, and what was expected).
    """
    table = _read(path)
    by_lower = {name.lower(): name for name in table.column_names}
    series, time, value = (
        next((by_lower[name] for name in names if name in by_lower), None)
        for names in (SERIES_COLUMNS, TIME_COLUMNS, VALUE_COLUMNS)
    )
    if time is None:
        raise InvalidInput(
            f"{path} has the columns {', '.join(table.column_names)}; expected a time column named "
            f"{', '.join(TIME_COLUMNS)}, with either {' or '.join(SERIES_COLUMNS)} and "
            f"{' or '.join(VALUE_COLUMNS[:2])}, or one column for each series"
        )
    ts_ms = _times(path, table.column(time))
    if series is not None:
        if value is None:
            raise InvalidInput(
                f"{path} has {series} and {time} but no values; expected a column named "
                f"{', '.join(VALUE_COLUMNS)}"
            )
        return _long(path, table, series, ts_ms, _numbers(path, table, value))
    if value is not None:
        return {path.stem: History.of_values(ts_ms, _numbers(path, table, value), path.name)}
    columns = [name for name in table.column_names if name != time]
    if not columns:
        raise InvalidInput(f"{path} holds times alone; expected a column for each series")
    return {
        name: History.of_values(ts_ms, _numbers(path, table, name), f"{path.name}, {name}")
        for name in columns
    }


def _long(
    path: Path, table: pa.Table, series: str, ts_ms: np.ndarray, values: np.ndarray
) -> dict[str, History]:
    keys = np.array(table.column(series).cast(pa.string()).to_pylist(), dtype=object)
    if any(key is None for key in keys):
        raise InvalidInput(f"{path}: the column {series} has empty cells; every row needs a series")
    return {
        str(key): History.of_values(
            ts_ms[keys == key], values[keys == key], f"{path.name}, series {key}"
        )
        for key in sorted(set(keys))
    }


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pq.read_table(path)
        elif path.suffix.lower() == ".csv":
            table = pyarrow.csv.read_csv(path)
        else:
            raise InvalidInput(f"{path} is neither .csv nor .parquet; values are read from these")
    except (OSError, pa.ArrowInvalid) as exc:
        raise InvalidInput(f"{path} can't be read: {exc}") from exc
    if not table.num_rows:
        raise InvalidInput(f"{path} holds no rows")
    return table


def _times(path: Path, column: pa.ChunkedArray) -> np.ndarray:
    """UTC milliseconds; times without a zone are taken for UTC."""
    if pa.types.is_integer(column.type):
        numbers: np.ndarray = column.to_numpy().astype(np.int64)
        return numbers
    try:
        if pa.types.is_string(column.type):
            column = column.cast(pa.timestamp("ms"))
        ts: np.ndarray = column.cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise InvalidInput(
            f"{path}: the times can't be read ({exc}); expected such as 2016-07-01 00:00:00, or "
            "integers"
        ) from exc
    if column.null_count:
        raise InvalidInput(f"{path}: the time column has empty cells; every row needs a time")
    return ts.astype(np.int64)


def _numbers(path: Path, table: pa.Table, name: str) -> np.ndarray:
    column = table.column(name)
    try:
        numbers: np.ndarray = column.cast(pa.float64()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise InvalidInput(f"{path}: the column {name} does not hold numbers ({exc})") from exc
    return numbers
