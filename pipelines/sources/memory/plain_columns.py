"""Columns of extension types and views as Arrow types that any reader understands: tensors as lists, objects as values.

Ray Data keeps tensors and Python objects in types of its own; other libraries have theirs.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.memory.plain import is_missing, plain

NO_TYPE = (pa.ArrowException, TypeError, ValueError, OverflowError)


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray | list[Any]:
    """Give a column a type that is neither an extension nor a view; its values in Python where they have no such type.

    A tensor of one dimension is a list, of two a list of lists, of fixed size where the type or all rows tell one.
    """
    kind = column.type
    if not _is_odd(kind):
        return column
    known = plain_type(kind)
    if known is not None and (_shape(kind) is None or not column.num_chunks):
        return _known(column, known)
    chunks = [_chunk(chunk) for chunk in column.chunks]
    if any(isinstance(chunk, list) for chunk in chunks):
        return [value for chunk in chunks for value in (chunk if isinstance(chunk, list) else chunk.to_pylist())]
    if len({chunk.type for chunk in chunks if isinstance(chunk, pa.Array)}) > 1:
        chunks = [_ragged(chunk) for chunk in chunks]
    return pa.chunked_array(chunks, None if chunks else pa.null())


def plain_type(kind: pa.DataType) -> pa.DataType | None:
    """Tell the type that ``plain_column`` gives a column of this one; None where only the values tell it."""
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if not isinstance(kind, pa.BaseExtensionType):
        return kind
    shape = _shape(kind)
    if shape is None:
        by_name = {"arrow.uuid": pa.string(), "arrow.bool8": pa.bool_()}
        return None if _is_of_objects(kind) else by_name.get(_name(kind), kind.storage_type)
    if 0 in shape:
        return None
    if None in shape:
        # The type of the first may be a narrower one.
        return {1: pa.list_(kind.value_type), 2: pa.list_(pa.list_(kind.value_type))}.get(len(shape))
    return _nested(kind.value_type, shape)


def _known(column: pa.ChunkedArray, known: pa.DataType) -> pa.ChunkedArray:
    if not isinstance(column.type, pa.BaseExtensionType):
        return column.cast(known)
    if _name(column.type) == "arrow.uuid":
        return pa.chunked_array([_uuids(chunk.storage) for chunk in column.chunks], known)
    stored = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    return stored if stored.type == known else stored.cast(known)


def _uuids(storage: pa.Array) -> pa.Array:
    return pa.array([None if code is None else str(UUID(bytes=code)) for code in storage.to_pylist()], pa.string())


def _chunk(chunk: pa.ExtensionArray) -> pa.Array | list[Any]:
    shape, storage = _shape(chunk.type), chunk.storage
    if shape is not None and 0 not in shape:
        if None not in shape:
            valid, flat = storage.is_valid().to_numpy(zero_copy_only=False), storage.flatten()
            return _lists(flat, valid, [int(size or 0) for size in shape])
        if len(shape) == 1:
            return storage.field("data")
        if len(shape) == 2:
            return _matrices(storage)
    values = [None if is_missing(value) else value for value in chunk.to_pylist()]
    # Arrays as they are keep the type of their numbers.
    for ready in (_of_vectors, plain):
        with suppress(*NO_TYPE, RecursionError):
            return pa.array(list(map(ready, values)))
    return values


def _of_vectors(value: Any) -> Any:
    """Make lists of an array but for its last dimension, which Arrow takes as it is, and a text of a UUID."""
    if isinstance(value, UUID):
        return str(value)
    return [_of_vectors(row) for row in value] if isinstance(value, np.ndarray) and value.ndim > 1 else value


def _lists(flat: pa.Array, valid: Any, shape: list[int]) -> pa.Array:
    """Cut numbers into lists of one shape; rows that are not ``valid`` have no numbers, and are null."""
    array = pa.FixedSizeListArray.from_arrays(flat, shape[-1])
    for size in reversed(shape[1:-1]):
        array = pa.ListArray.from_arrays(np.arange(0, len(array) + 1, size, dtype=np.int32), array)
    if len(shape) > 1:
        ends = np.concatenate([[0], np.cumsum(np.where(valid, shape[0], 0))]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(ends), array, mask=pa.array(~valid))
    return array if valid.all() else array.take(pa.array(np.cumsum(valid) - 1, mask=~valid))


def _matrices(storage: pa.StructArray) -> pa.Array:
    """Cut tensors of two dimensions, of any shapes, into lists of lists."""
    valid = storage.is_valid().to_numpy(zero_copy_only=False)
    shapes = np.array([shape or [0, 0] for shape in storage.field("shape").to_pylist()]).reshape(-1, 2)
    shapes[~valid] = 0
    flat = storage.field("data").filter(pa.array(valid)).flatten()
    rows = np.concatenate([[0], np.cumsum(shapes[:, 0])]).astype(np.int32)
    widths = np.repeat(shapes[:, 1], shapes[:, 0])
    if len(set(widths.tolist())) == 1 and widths[0]:
        vectors = pa.FixedSizeListArray.from_arrays(flat, int(widths[0]))
    else:
        vectors = pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)), flat)
    return pa.ListArray.from_arrays(pa.array(rows), vectors, mask=pa.array(~valid))


def _ragged(array: pa.Array) -> pa.Array:
    """Give lists of any kind the type of lists whose length may vary."""
    kind = array.type
    depth = 0
    while hasattr(kind, "value_type"):
        kind, depth = kind.value_type, depth + 1
    for _ in range(depth):
        kind = pa.list_(kind)
    return pc.cast(array, kind)


def _is_odd(kind: pa.DataType) -> bool:
    is_view = pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)
    return isinstance(kind, pa.BaseExtensionType) or is_view


def _is_of_objects(kind: pa.BaseExtensionType) -> bool:
    return "object" in _name(kind).lower()


def _name(kind: pa.BaseExtensionType) -> str:
    return str(getattr(kind, "extension_name", ""))


def _shape(kind: pa.BaseExtensionType) -> tuple[int | None, ...] | None:
    """Return the shape of each tensor of a column, None for a size that varies; None for a column of no tensors."""
    shape = getattr(kind, "shape", None)
    return None if shape is None else tuple(shape)


def _nested(value: pa.DataType, shape: tuple[int | None, ...]) -> pa.DataType:
    kind = pa.list_(value, int(shape[-1] or 0))
    for _ in shape[1:]:
        kind = pa.list_(kind)
    return kind
