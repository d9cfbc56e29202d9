"""Parts of a split as a format gives them: columns, where it has whole ones, and the same rows as records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.sources.records import Record

# Rows that become columns together: so many that the work for a column is more than the calls for it.
COLUMN_ROWS = 8192


@dataclass(frozen=True)
class Column:
    """Values of one column, with ``is_json`` each as its JSON text; rows that are ``missing`` have no such key."""

    values: pa.Array
    missing: pa.BooleanArray | None = None
    is_json: bool = False


@dataclass(frozen=True)
class Columns:
    """Columns of some rows by name, and the rows' positions in the split."""

    positions: npt.NDArray[np.int64]
    by_name: Mapping[str, Column]


@dataclass(frozen=True)
class Part:
    """Some rows of a split; ``records`` reads them one by one, ``columns`` together, where that can be.

    ``lines`` is how many lines of the file it has, where rows are numbered by these.
    """

    records: Callable[[], Iterable[Record]]
    columns: Callable[[], Columns | None] | None = None
    lines: int = 0


def all_records(parts: Iterable[Part]) -> Iterator[Record]:
    """Read all parts one row after the other."""
    for part in parts:
        yield from part.records()
