"""Rows of Arrow batches as Python values, for all formats that are read through Arrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.sources.parts import Column, Columns, Part
from pipelines.sources.records import Undecodable

BATCH_BYTES = 8 << 20
BATCH_ROWS = 1024
NO_VALUE = (ValueError, OverflowError, KeyError, pa.ArrowException)


def chosen_columns(schema: pa.Schema, columns: Collection[str] | None) -> list[str]:
    """Names of those columns, or of all where None; raises ArrowInvalid where a file has two of one name."""
    if (twice := name_that_stands_twice(schema.names)) is not None:
        raise pa.ArrowInvalid(f"the column {twice!r} stands twice")
    return [name for name in schema.names if columns is None or name in columns]


def name_that_stands_twice(names: Iterable[Any]) -> Any:
    """Give the first name of columns that several have; None where each has its own."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def rows_at_once(rows: int, size: int, most: int = BATCH_ROWS) -> int:
    """Rows to work on together, at ``most`` so many, where all ``rows`` have ``size`` bytes."""
    return max(1, min(most, BATCH_BYTES * rows // max(1, size)))


def batch_part(
    batch: pa.RecordBatch, position: int, rows: Callable[[pa.RecordBatch], Iterator[dict[str, Any]]]
) -> Part:
    """Make a part of a batch whose first row has that position; ``rows`` reads them one by one."""
    return Part(
        lambda: ((at, values, None) for at, values in enumerate(rows(batch), position)),
        lambda: Columns(
            np.arange(position, position + batch.num_rows),
            dict(zip(batch.schema.names, map(Column, batch.columns), strict=True)),
        ),
    )


def python_rows(batch: pa.RecordBatch, doubtful: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield a batch's rows by column; a value that Python cannot hold, or of no sound bytes, is an Undecodable.

    Values of the columns named ``doubtful`` are checked one by one.
    """
    names = batch.schema.names
    columns = [_values(column, checked=name in doubtful) for name, column in zip(names, batch.columns, strict=True)]
    if not columns:
        yield from ({} for _ in range(batch.num_rows))
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def checked_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield a batch's rows as ``python_rows`` does; the batch may be as it was in a file, which nobody has checked."""
    doubtful = [name for name, column in zip(batch.schema.names, batch.columns, strict=True) if not is_sound(column)]
    step = rows_at_once(batch.num_rows, batch.get_total_buffer_size())
    for start in range(0, batch.num_rows, step):
        yield from python_rows(batch.slice(start, step), doubtful)


def is_sound(array: pa.Array) -> bool:
    """Whether an array is what its type says, in all bytes; one of a file may be anything."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _values(array: pa.Array, *, checked: bool) -> list[Any]:
    """Convert to Python values; one that has none (a date past 9999, bytes that are not UTF-8) costs no other."""
    if checked:
        return [_checked_value(array.slice(at, 1)) for at in range(len(array))]
    try:
        values: list[Any] = array.to_pylist(maps_as_pydicts="strict")
        return values
    except NO_VALUE:
        return [_value(scalar) for scalar in array]


def _checked_value(array: pa.Array) -> Any:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        return Undecodable(str(error))
    return _value(array[0])


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py(maps_as_pydicts="strict")
    except NO_VALUE as error:
        return Undecodable(str(error))
