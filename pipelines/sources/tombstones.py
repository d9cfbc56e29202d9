"""Rows of a change feed that are deletions: which ones a column marks."""

from __future__ import annotations

from typing import Any

from pipelines.rows import RowError
from pipelines.sources.records import STAGE

# By a value's text in small letters; nothing at all is a document.
_MEANINGS = {"true": True, "1": True, "false": False, "0": False, "": False}
_SHOWN = 100


def parse_deleted(value: Any, column: str) -> tuple[bool, RowError | None]:
    """Tell whether a row is a deletion, by the value of its column ``source.deleted``; else why that cannot be told.

    Booleans, the numbers 0 and 1, and both as text, in letters of any case; None and "" are no deletion.
    """
    if value is None:
        return False, None
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value), None
    meaning = _MEANINGS.get(value.strip().lower()) if isinstance(value, str) else None
    if meaning is not None:
        return meaning, None
    shown = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return False, RowError(STAGE, "InvalidDeleted", f"{column!r} is {shown[:_SHOWN]}, not true or false")
