"""Ray's blocks as Arrow tables that any reader understands: columns of tensors become lists, objects their values."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import ConfigError


def to_table(block: Any) -> pa.Table:
    """Make a table of a block (a table, a pandas frame): extension types are put into Arrow's own.

    Raises ConfigError for a column of Python objects that have no Arrow type.
    """
    from ray.data.block import BlockAccessor

    table = BlockAccessor.for_block(block).to_arrow()
    columns = [_plain(name, column) for name, column in zip(table.column_names, table.columns, strict=True)]
    fields = [pa.field(field.name, column.type) for field, column in zip(table.schema, columns, strict=True)]
    return pa.table(columns, schema=pa.schema(fields, metadata=table.schema.metadata))


def plain_type(kind: pa.DataType) -> pa.DataType | None:
    """Tell the type that ``to_table`` gives a column of this one; None where only the values tell it."""
    if not isinstance(kind, pa.BaseExtensionType):
        return kind
    shape = _shape(kind)
    if shape is None:
        return None if _is_of_objects(kind) else pa.string() if _is_of_uuids(kind) else kind.storage_type
    if any(size is None for size in shape):
        # The type of the first may be a narrower one.
        return {1: pa.list_(kind.value_type), 2: pa.list_(pa.list_(kind.value_type))}.get(len(shape))
    return _nested(kind.value_type, shape)


def _plain(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    chunks = [_plain_chunk(name, chunk) for chunk in column.chunks]
    if not chunks:
        return pa.chunked_array([], plain_type(column.type) or pa.null())
    kinds = {chunk.type for chunk in chunks}
    return pa.chunked_array(chunks) if len(kinds) == 1 else pa.chunked_array([_ragged(chunk) for chunk in chunks])


def _plain_chunk(name: str, chunk: pa.ExtensionArray) -> pa.Array:
    kind, shape = chunk.type, _shape(chunk.type)
    if shape is None and _is_of_uuids(kind):
        return pa.array(
            [None if code is None else str(UUID(bytes=code)) for code in chunk.storage.to_pylist()], pa.string()
        )
    if shape is None:
        return _of_objects(name, chunk) if _is_of_objects(kind) else chunk.storage
    if None not in shape:
        storage = chunk.storage
        valid, flat = storage.is_valid().to_numpy(zero_copy_only=False), storage.flatten()
        return _lists(flat, valid, _nested(kind.value_type, shape), [int(size or 0) for size in shape])
    if len(shape) == 1:
        return chunk.storage.field("data")
    if len(shape) == 2:
        return _matrices(chunk.storage)
    raise ConfigError(f"column {name!r} holds tensors of {len(shape)} dimensions; a vector has one, a multivector two")


def _lists(flat: pa.Array, valid: Any, kind: pa.DataType, shape: list[int]) -> pa.Array:
    """Cut numbers into lists of one shape; rows that are not ``valid`` have no numbers, and are null."""
    places = np.cumsum(valid) - 1
    if len(shape) > 1:
        tokens = pa.FixedSizeListArray.from_arrays(flat, shape[-1])
        ends = np.concatenate([[0], np.cumsum(np.where(valid, shape[0], 0))]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(ends), tokens, mask=pa.array(~valid))
    rows = pa.FixedSizeListArray.from_arrays(flat, shape[0])
    return rows if valid.all() else rows.take(pa.array(places, mask=~valid))


def _matrices(storage: pa.StructArray) -> pa.Array:
    """Cut tensors of two dimensions, of any shapes, into lists of lists."""
    valid = storage.is_valid().to_numpy(zero_copy_only=False)
    shapes = np.array([shape or [0, 0] for shape in storage.field("shape").to_pylist()]).reshape(-1, 2)
    shapes[~valid] = 0
    flat = storage.field("data").filter(pa.array(valid)).flatten()
    rows = np.concatenate([[0], np.cumsum(shapes[:, 0])]).astype(np.int32)
    widths = np.repeat(shapes[:, 1], shapes[:, 0])
    if len(set(widths.tolist())) == 1:
        tokens = pa.FixedSizeListArray.from_arrays(flat, int(widths[0]))
    else:
        tokens = pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)), flat)
    return pa.ListArray.from_arrays(pa.array(rows), tokens, mask=pa.array(~valid))


def _ragged(array: pa.Array) -> pa.Array:
    """Give lists of any kind the type of lists whose length may vary."""
    kind = array.type
    depth = 0
    while hasattr(kind, "value_type"):
        kind, depth = kind.value_type, depth + 1
    for _ in range(depth):
        kind = pa.list_(kind)
    return pc.cast(array, kind)


def _of_objects(name: str, chunk: pa.ExtensionArray) -> pa.Array:
    values = [None if _is_nothing(value) else value for value in chunk.to_pylist()]
    try:
        return pa.array([str(value) if isinstance(value, UUID) else value for value in values])
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ConfigError(f"column {name!r} holds Python objects that have no Arrow type: {error}") from None


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _is_of_objects(kind: pa.BaseExtensionType) -> bool:
    return "object" in str(getattr(kind, "extension_name", "")).lower()


def _is_of_uuids(kind: pa.BaseExtensionType) -> bool:
    return getattr(kind, "extension_name", "") == "arrow.uuid"


def _shape(kind: pa.BaseExtensionType) -> tuple[int | None, ...] | None:
    """Return the shape of each tensor of a column, None for a size that varies; None for a column of no tensors."""
    shape = getattr(kind, "shape", None)
    return None if shape is None else tuple(shape)


def _nested(value: pa.DataType, shape: tuple[int | None, ...]) -> pa.DataType:
    kind = pa.list_(value, int(shape[-1] or 0))
    return kind if len(shape) == 1 else pa.list_(kind)
