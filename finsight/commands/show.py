"""How the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def print_json(document: Any) -> None:
    """Print `document` as JSON on standard output, and nothing else."""
    print(json.dumps(document, indent=2, default=str))


def write_json(document: Any, path: Path) -> None:
    """Write `document` as JSON to `path`, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=2, default=str) + "\n")
    partial.replace(path)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under `columns`; numbers to the right. A cell in colour is a `Text`."""
    rows = [list(row) for row in rows]
    table = Table(title=title, title_justify="left", header_style="bold", box=None, padding=(0, 1))
    for index, column in enumerate(columns):
        is_number = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        is_last = index == len(columns) - 1
        table.add_column(
            column, justify="right" if is_number else "left", no_wrap=not is_last or is_number
        )
    for row in rows:
        table.add_row(*map(_cell, row))
    console.print(table)


def print_error(kind: str, message: str) -> None:
    """Print one error as one line, whatever is in its message."""
    errors.print(f"[bold red]{kind}[/]: {escape(' '.join(message.split()))}", soft_wrap=True)


def coloured(text: str, colour: str) -> Text:
    """A cell in a colour."""
    return Text(text, style=colour)


def _cell(value: Any) -> Text:
    # What users and venues wrote may hold [brackets]: it is text, and never markup.
    if isinstance(value, Text):
        return value
    return Text("" if value is None else str(value))
