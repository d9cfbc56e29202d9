"""Ids of rows, taken from a file without reading the rows."""

from __future__ import annotations

from dataclasses import dataclass


class NotPlainError(Exception):
    """The id of a row does not show without reading the row."""


@dataclass(frozen=True)
class PlainIds:
    """Ids of some rows as UTF-8, none empty, and the number of lines by which later parts of the file are numbered.

    The id of a row that can be used is its own; that of another row may be any.
    """

    ids: list[bytes]
    lines: int = 0
