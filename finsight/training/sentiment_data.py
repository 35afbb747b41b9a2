"""Labelled texts from files: CSV, JSON lines, Parquet, Financial PhraseBank's own format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.json as arrow_json
import pyarrow.parquet as arrow_parquet

from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import LabelledText, read_labels
from finsight.domain.sentiment import SentimentLabel

TEXT_COLUMNS = ("text", "sentence", "headline", "title", "tweet", "content", "news")
LABEL_COLUMNS = ("label", "sentiment", "class", "label_text", "polarity")
_FORMATS = "CSV (.csv), JSON lines (.jsonl), Parquet (.parquet) and PhraseBank (.txt, text@label)"


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
    """Read one file; rows without any text are left out. Raises: InvalidInput."""
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}")
    texts, raw_labels = _read_phrase_bank(path) if path.suffix == ".txt" else _read_table(path)
    filled = [number for number, text in enumerate(texts) if text and text.strip()]
    if not filled:
        raise InvalidInput(f"{path} holds no texts")
    without = [number + 1 for number in filled if not raw_labels[number]]
    if without:
        raise InvalidInput(
            f"{path}: {len(without)} texts have no label, the first in row {without[0]}; "
            "label them or take them out"
        )
    try:
        labels = read_labels([raw_labels[number] for number in filled], order)
    except InvalidInput as exc:
        raise InvalidInput(f"{path}: {exc}") from exc
    return [
        LabelledText(texts[number].strip(), label, path.name, number + 1)
        for number, label in zip(filled, labels, strict=True)
    ]


def _read_table(path: Path) -> tuple[list[str], list[str]]:
    """Return the text and label columns as strings; an empty cell is an empty string."""
    try:
        table = _open_table(path)
    except (pa.ArrowException, OSError) as exc:
        raise InvalidInput(f"{path} can't be read: {exc}") from exc
    text = _column(path, table, "text", TEXT_COLUMNS)
    label = _column(path, table, "label", LABEL_COLUMNS)
    texts = ["" if value is None else str(value) for value in table[text].to_pylist()]
    labels = ["" if value is None else str(value) for value in table[label].to_pylist()]
    return texts, labels


def _open_table(path: Path) -> pa.Table:
    if path.suffix == ".csv":
        # Quoted texts may hold line breaks.
        parsing = arrow_csv.ParseOptions(newlines_in_values=True)
        return arrow_csv.read_csv(path, parse_options=parsing)
    if path.suffix in (".jsonl", ".ndjson", ".json"):
        return arrow_json.read_json(path)
    if path.suffix in (".parquet", ".pq"):
        return arrow_parquet.read_table(path)
    raise InvalidInput(f"{path}: the format is not known; known are {_FORMATS}")


def _column(path: Path, table: pa.Table, meaning: str, names: Sequence[str]) -> str:
    """Return the first column of `table` that is called one of `names`, in any case."""
    by_name = {str(column).strip().casefold(): str(column) for column in table.column_names}
    found = next((by_name[name] for name in names if name in by_name), None)
    if found is None:
        raise InvalidInput(
            f"{path} has the columns {', '.join(map(str, table.column_names))}; expected a "
            f"{meaning} column called {' or '.join(names)}"
        )
    return found


def _read_phrase_bank(path: Path) -> tuple[list[str], list[str]]:
    """Read lines of text@label; Financial PhraseBank's are in Latin-1."""
    content = path.read_bytes()
    try:
        decoded = content.decode("utf-8")
    except UnicodeDecodeError:
        decoded = content.decode("latin-1")
    texts, labels = [], []
    for number, line in enumerate(decoded.split("\n"), start=1):
        if not line.strip():
            continue
        text, at, label = line.rpartition("@")
        if not at:
            raise InvalidInput(f"{path}: line {number} is not text@label")
        texts.append(text)
        labels.append(label.strip())
    return texts, labels
