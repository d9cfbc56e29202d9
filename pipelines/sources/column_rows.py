"""Columns -> rows of SOURCE_SCHEMA, all of them together: the same that ``rows.parse_rows`` makes of each alone.

Only what has no doubt about it is done here. Where a row is dead, or might be, none of a part's rows is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hashing import join, xxh3_128_hex
from pipelines.sources.arrow_rows import NO_VALUE
from pipelines.sources.base import Fields
from pipelines.sources.json_columns import OddError, json_objects, utf8
from pipelines.sources.partitions import Partitions
from pipelines.sources.parts import Column, Columns
from pipelines.sources.tombstones import parse_deleted

# A column of marks has few of them, of which each is looked at once.
MOST_MARKS = 16


@dataclass(frozen=True)
class ColumnRows:
    """Live rows: ids, texts and payloads as SOURCE_SCHEMA has them, and positions in the split.

    ``hashed`` tells of each row whether its id is made from the content, ``marked`` whether any has the column of
    deletions.
    """

    ids: pa.Array
    texts: pa.Array
    payloads: pa.Array
    positions: npt.NDArray[np.int64]
    hashed: npt.NDArray[np.bool_]
    marked: bool = False


def parse_columns(columns: Columns, fields: Fields, partitions: Partitions) -> ColumnRows | None:
    """Parse rows without images; None where one of them must be looked at alone."""
    try:
        return _parsed(columns, fields, partitions)
    except (OddError, *NO_VALUE, TypeError, RecursionError):
        return None


def document_ids(columns: Columns, name: str) -> pa.Array | None:
    """Take the ids of rows out of a column, null where a row has none; None where one must be looked at alone."""
    try:
        return _ids(columns.by_name.get(name), len(columns.positions))
    except (OddError, *NO_VALUE):
        return None


def _parsed(columns: Columns, fields: Fields, partitions: Partitions) -> ColumnRows:
    rows = len(columns.positions)
    by_name = {**_constants(partitions, rows), **columns.by_name}
    if any(by_name[name].missing is not None for name, _ in partitions):
        raise OddError("a row takes a value from its folder that others have themselves")
    if fields.deleted is not None:
        _refuse_deletions(by_name.get(fields.deleted))
    texts = _texts(by_name.get(fields.text))
    own = (fields.id, fields.text, fields.deleted)
    kept = {
        name: column
        for name, column in by_name.items()
        if name not in own and (fields.payload is None or name in fields.payload)
    }
    payloads = json_objects(kept, rows)
    ids = _ids(by_name.get(fields.id) if fields.id is not None else None, rows)
    lacking = pc.is_null(ids)
    hashed = lacking.to_numpy(zero_copy_only=False)
    if hashed.any():
        characters = pc.utf8_length(texts).cast(pa.large_string())
        contents = join(characters, pa.scalar(":", pa.large_string()), texts, payloads)
        made = xxh3_128_hex(contents.filter(lacking))
        ids = made if hashed.all() else pc.replace_with_mask(ids, lacking, made)
    return ColumnRows(ids, texts, payloads, columns.positions, hashed, marked=fields.deleted in by_name)


def _constants(partitions: Partitions, rows: int) -> Mapping[str, Column]:
    return {name: Column(pa.array([value]).take(pa.array(np.zeros(rows, np.int64)))) for name, value in partitions}


def _refuse_deletions(column: Column | None) -> None:
    if column is None:
        return
    if column.is_json:
        raise OddError("marks of several types")
    marks = column.values.unique()
    if len(marks) > MOST_MARKS or any(parse_deleted(mark, "") != (False, None) for mark in marks.to_pylist()):
        raise OddError("a deletion")


def _texts(column: Column | None) -> pa.Array:
    values = _strings(column, binary=True)
    if values is None or values.null_count:
        raise OddError("a row without text")
    return values


def _ids(column: Column | None, rows: int) -> pa.Array:
    """Ids as strings, null where a row has none."""
    if column is None or pa.types.is_null(column.values.type):
        return pa.nulls(rows, pa.string())
    if not column.is_json and pa.types.is_integer(column.values.type):
        ids = column.values.cast(pa.string())
    elif (found := _strings(column)) is not None:
        ids = found.cast(pa.string())
    else:
        raise OddError("ids that are no strings and no integers")
    empty = pc.equal(ids, "")
    if pc.any(empty).as_py():
        ids = pc.if_else(empty, None, ids)
    return ids if column.missing is None else pc.if_else(column.missing, None, ids)


def _strings(column: Column | None, *, binary: bool = False) -> pa.Array | None:
    """Make large strings; of bytes too where these are UTF-8. None of another column; raises ArrowInvalid."""
    if column is None or column.is_json:
        return None
    values, types = column.values, pa.types
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if types.is_string(kind) or types.is_large_string(kind):
        return utf8(values)
    if binary and (types.is_binary(kind) or types.is_large_binary(kind)):
        return values.cast(pa.large_string())
    return None
