"""Labelled texts from files: CSV, JSON lines, Parquet, Financial PhraseBank's own format."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.json as arrow_json
import pyarrow.parquet as arrow_parquet

from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import (
    LabelledText,
    Splits,
    label_named,
    make_splits,
    read_labels,
)
from finsight.domain.sentiment import SentimentLabel

TEXT_COLUMNS = ("text", "sentence", "headline", "title", "tweet", "content", "news")
LABEL_COLUMNS = ("label_text", "label_name", "label", "sentiment", "class", "polarity")
WEIGHT_COLUMNS = ("weight", "confidence", "label_confidence")
_FORMATS = (
    "CSV (.csv, .tsv), JSON lines (.jsonl), Parquet (.parquet) and PhraseBank (.txt, text@label)"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Rows:
    """What a file holds, row by row; an empty cell is an empty string. `weights` may be absent."""

    texts: list[str]
    labels: list[str]
    weights: list[str] | None = None


@dataclass(frozen=True)
class SentimentData:
    """The files a model is trained on, and how they are divided.

    `earlier` are learnt before `files`, one after the other; `unlabelled`, without any
    labels, before both. `order` is what the labels 0, 1 and 2 stand for, where the files
    have such.
    """

    files: tuple[Path, ...]
    valid: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    valid_share: float = 0.1
    test_share: float = 0.0
    order: tuple[SentimentLabel, ...] | None = None
    earlier: tuple[Path, ...] = ()
    unlabelled: tuple[Path, ...] = ()

    def read(self, seed: int) -> Splits:
        """Raises: InvalidInput."""
        for name, share in (("validation", self.valid_share), ("test", self.test_share)):
            if not 0 <= share < 1:
                raise InvalidInput(f"the {name} share is {share}; expected at least 0, below 1")
        return make_splits(
            read_labelled_files(self.files, self.order),
            valid=read_labelled_files(self.valid, self.order) if self.valid else None,
            test=read_labelled_files(self.test, self.order) if self.test else None,
            valid_share=self.valid_share,
            test_share=self.test_share,
            seed=seed,
        )

    def read_earlier(self) -> list[list[LabelledText]]:
        """Raises: InvalidInput."""
        return [read_labelled_file(path, self.order) for path in self.earlier]

    def read_unlabelled(self) -> list[str]:
        """Raises: InvalidInput."""
        return [text for path in self.unlabelled for text in read_texts(path)]


def read_labelled_files(
    paths: Sequence[Path], order: Sequence[SentimentLabel] | None = None
) -> list[LabelledText]:
    """Read every file, one after the other. `order`: what 0, 1 and 2 stand for.

    Raises:
        InvalidInput: a file is missing, empty, of another format or broken, lacks a text
            or label column, or has labels that aren't understood; names the file.
    """
    return [text for path in paths for text in read_labelled_file(path, order)]


def read_labelled_file(
    path: Path, order: Sequence[SentimentLabel] | None = None
) -> list[LabelledText]:
    """Read one file; rows without any text are left out, and their number is logged.

    Raises: InvalidInput.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}")
    rows = _read_phrase_bank(path) if path.suffix == ".txt" else _read_table(path)
    filled = [number for number, text in enumerate(rows.texts) if text.strip()]
    if not filled:
        raise InvalidInput(f"{path} holds no texts")
    if len(filled) < len(rows.texts):
        _log.warning("%s: %d rows have no text: left out", path, len(rows.texts) - len(filled))
    without = [number + 1 for number in filled if not rows.labels[number]]
    if without:
        raise InvalidInput(
            f"{path}: {len(without)} texts have no label, the first in row {without[0]}; "
            "label them or take them out"
        )
    try:
        labels = read_labels([rows.labels[number] for number in filled], order)
    except InvalidInput as exc:
        raise InvalidInput(f"{path}: {exc}") from exc
    return [
        LabelledText(
            rows.texts[number].strip(), label, path.name, number + 1, _weight(path, rows, number)
        )
        for number, label in zip(filled, labels, strict=True)
    ]


def read_texts(path: Path) -> list[str]:
    """Read a file's texts, whatever else it holds: of a .txt file, the lines.

    Raises: InvalidInput.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}")
    if path.suffix == ".txt":
        texts = _decoded(path).split("\n")
    else:
        table = _read_columns(path)
        texts = _cells(table, _column(path, table, "text", TEXT_COLUMNS))
    filled = [text.strip() for text in texts if text.strip()]
    if not filled:
        raise InvalidInput(f"{path} holds no texts")
    return filled


def _weight(path: Path, rows: _Rows, number: int) -> float:
    """How far a row's label is to be trusted; 1 where nothing is said. Raises: InvalidInput."""
    written = rows.weights[number] if rows.weights else ""
    if not written:
        return 1.0
    try:
        weight = float(written)
    except ValueError:
        weight = float("nan")
    if not 0 < weight <= 1:
        raise InvalidInput(
            f"{path}: row {number + 1} has the weight {written}; expected a number above 0 and at "
            "most 1 (how far the label is to be trusted), or nothing"
        )
    return weight


def _read_table(path: Path) -> _Rows:
    table = _read_columns(path)
    text = _column(path, table, "text", TEXT_COLUMNS)
    label = _column(path, table, "label", LABEL_COLUMNS)
    weight = _found(table, WEIGHT_COLUMNS)
    return _Rows(
        _cells(table, text),
        _named_classes(table, label) or _cells(table, label),
        _cells(table, weight) if weight else None,
    )


def _read_columns(path: Path) -> pa.Table:
    """Raises: InvalidInput."""
    try:
        return _open_table(path)
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise InvalidInput(f"{path} can't be read: {exc}") from exc


def _open_table(path: Path) -> pa.Table:
    if path.suffix in (".csv", ".tsv"):
        table = _open_csv(path)
        # Well-known copies of PhraseBank are two columns without their names.
        headless = len(table.column_names) == 2 and any(map(label_named, table.column_names))
        return _with_names(_open_csv(path, named=False)) if headless else table
    if path.suffix in (".jsonl", ".ndjson", ".json"):
        with path.open("rb") as file:
            is_array = file.read(64).lstrip().startswith(b"[")
        if is_array:
            rows = json.loads(path.read_bytes())
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("expected an array of objects, each with a text and a label")
            return pa.Table.from_pylist(rows)
        return arrow_json.read_json(path)
    if path.suffix in (".parquet", ".pq"):
        return arrow_parquet.read_table(path)
    raise InvalidInput(f"{path}: the format is not known; known are {_FORMATS}")


def _open_csv(path: Path, *, named: bool = True) -> pa.Table:
    # Quoted texts may hold line breaks.
    parsing = arrow_csv.ParseOptions(
        newlines_in_values=True, delimiter="\t" if path.suffix == ".tsv" else ","
    )
    try:
        path.read_bytes().decode("utf-8")
        encoding = "utf8"
    except UnicodeDecodeError:
        encoding = "latin-1"
    reading = arrow_csv.ReadOptions(encoding=encoding, autogenerate_column_names=not named)
    return arrow_csv.read_csv(path, read_options=reading, parse_options=parsing)


def _with_names(table: pa.Table) -> pa.Table:
    first = [str(column[0].as_py()) for column in table.columns]
    return table.rename_columns(["label" if label_named(cell) else "text" for cell in first])


def _named_classes(table: pa.Table, column: str) -> list[str] | None:
    """The names that a data set of the hub keeps of its numbers, else None."""
    kept = (table.schema.metadata or {}).get(b"huggingface")
    if kept is None or not pa.types.is_integer(table.schema.field(column).type):
        return None
    try:
        names = json.loads(kept)["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    known = dict(enumerate(map(str, names)))
    # Names that say nothing are left to --labels.
    if any(label_named(name) is None for name in known.values()):
        return None
    numbers = table[column].to_pylist()
    return ["" if number is None else known.get(number, str(number)) for number in numbers]


def _cells(table: pa.Table, column: str) -> list[str]:
    return [_cell(value) for value in table[column].to_pylist()]


def _cell(value: Any) -> str:
    # A gap in a column of numbers is NaN, which is no value either.
    return "" if value is None or value != value else str(value)


def _found(table: pa.Table, names: Sequence[str]) -> str | None:
    """Return the first column of `table` that is called one of `names`, in any case."""
    by_name = {str(column).strip().casefold(): str(column) for column in table.column_names}
    return next((by_name[name] for name in names if name in by_name), None)


def _column(path: Path, table: pa.Table, meaning: str, names: Sequence[str]) -> str:
    """Raises: InvalidInput (there is no such column; says which there are)."""
    found = _found(table, names)
    if found is None:
        raise InvalidInput(
            f"{path} has the columns {', '.join(map(str, table.column_names))}; expected a "
            f"{meaning} column called {' or '.join(names)}"
        )
    return found


def _read_phrase_bank(path: Path) -> _Rows:
    """Read lines of text@label; Financial PhraseBank's are in Latin-1."""
    texts, labels = [], []
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        text, at, label = line.rpartition("@")
        if not at:
            raise InvalidInput(f"{path}: line {number} is not text@label")
        texts.append(text)
        labels.append(label.strip())
    return _Rows(texts, labels)


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
