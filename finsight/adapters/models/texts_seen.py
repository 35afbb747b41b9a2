"""Which texts a sentiment model has seen, kept in its folder as marks and not as texts."""

from __future__ import annotations

import re
from pathlib import Path

from finsight.domain.errors import ModelUnavailable
from finsight.domain.labelled_texts import SEEN_FILE

_MARK = re.compile(r"[0-9a-f]{16}")


def read_texts_seen(folder: Path) -> frozenset[str] | None:
    """Return the marks in a model's folder, or None where it keeps none.

    Raises: ModelUnavailable (the file is not what training writes).
    """
    path = folder / SEEN_FILE
    if not path.is_file():
        return None
    try:
        marks = frozenset(path.read_text(encoding="ascii").split())
    except (OSError, UnicodeDecodeError) as exc:
        raise ModelUnavailable(f"{path} can't be read: {exc}") from exc
    if wrong := next((mark for mark in marks if not _MARK.fullmatch(mark)), None):
        raise ModelUnavailable(f"{path} holds '{wrong[:40]}', which is not the mark of a text")
    return marks
