"""Records: what comes out of a file before it is known which columns are id, text, payload and image."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.rows import RowError

STAGE = "read"

# (position in the split from 0, values by column, error). One of values and error is None. The position is None
# where the record stands for rows that cannot be read at all.
Record = tuple[int | None, dict[str, Any] | None, RowError | None]


class UnreadableFileError(Exception):
    """A file cannot be read, or not further; says why."""


# What the records of a file may raise. pyarrow's own errors derive from ArrowException or OSError.
READ_ERRORS = (UnreadableFileError, OSError, EOFError, zlib.error, UnicodeError, pa.ArrowException)


@dataclass(frozen=True)
class Undecodable:
    """Stands for a value that Python cannot hold; says why."""

    reason: str


@dataclass(frozen=True)
class Oversized:
    """Stands for content that is too large to be read; says what it is."""

    what: str


def unreadable(what: str, reason: BaseException, loss: str) -> Record:
    """Make the record that stands for rows nobody can read."""
    message = f"{what}: {str(reason)[:300] or type(reason).__name__}; {loss}"
    return None, None, RowError(STAGE, "UnreadableFile", message)
