"""Columns of a batch in any of Ray Data's formats, as what embeddings take, and vectors as columns of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import SPARSE_TYPE, matrix_with_nan
from pipelines.rows import ERROR_TYPE, RowError
from pipelines.sources.memory.plain import is_missing

Errors = dict[int, RowError]
# Of the errors that a value has before any model sees it.
STAGE = "embed"


def text_column(values: Any, name: str) -> tuple[pa.Array, Errors]:
    """Read texts of an Arrow column, an array or a series: large_string, null where there is none, and errors by row.

    Raises ValueError for a column whose type holds no texts.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
        if not any(is_kind(kind) for is_kind in texts):
            raise ValueError(f"the column {name!r} holds {values.type}, and texts are embedded: name another column")
        return _whole(values.cast(pa.large_string())), {}
    holds_none = getattr(values, "dtype", None) is not None and values.dtype.kind not in "OUT"
    # A column of nothing but nulls comes as one of NaN.
    if holds_none and not (values.dtype.kind == "f" and np.isnan(values).all()):
        raise ValueError(f"the column {name!r} holds {values.dtype}, and texts are embedded: name another column")
    items = [None if is_missing(value) else value for value in values]
    return _converted(items, _text, pa.large_string())


def image_column(values: Any, name: str) -> tuple[pa.Array, Errors]:
    """Read images: contents of files, paths, Pillow images, uint8 arrays (height, width, channels); errors by row.

    The column has files' contents (large_binary); arrays are encoded as PNG. Raises ValueError for a column whose type
    holds no images.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        kind = values.type
        if isinstance(kind, pa.BaseExtensionType):
            # Tensors of Ray's, as `read_images` gives them.
            values = values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return _whole(values.cast(pa.large_binary())), {}
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_struct(kind):
            values = values.to_pylist()
        elif not pa.types.is_null(kind):
            raise ValueError(f"the column {name!r} holds {kind}, and images are embedded: name another column")
    return _converted([None if is_missing(value) else value for value in values], _content, pa.large_binary())


def error_column(values: Any, name: str) -> pa.ChunkedArray:
    """Read errors that rows came with; raises ValueError where the column holds other things."""
    try:
        if isinstance(values, (pa.Array, pa.ChunkedArray)):
            return pa.chunked_array([_whole(values).cast(ERROR_TYPE)])
        return pa.chunked_array([pa.array([None if is_missing(value) else value for value in values], ERROR_TYPE)])
    except (pa.ArrowException, TypeError):
        raise ValueError(
            f"the batch has a column {name!r} that holds no errors of this kind; choose another name by error="
        ) from None


def numpy_column(column: pa.Array) -> npt.NDArray[Any]:
    """Make an array of a column of vectors or errors.

    Dense vectors are one matrix (rows, dim), NaN where there is none; the others are arrays of objects: of dicts or
    None, and of matrices (tokens, dim), empty where there is none.
    """
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        return matrix_with_nan(column)
    items = list(map(_item, column))
    if pa.types.is_list(kind):
        inner = kind.value_type
        empty = np.empty((0, inner.list_size), inner.value_type.to_pandas_dtype())
        items = [empty if item is None else item for item in items]
    return _objects(items)


def pandas_column(column: pa.Array) -> npt.NDArray[Any]:
    """Make an array of objects of a column, with the entries of ``numpy_column``: Ray takes no None among arrays."""
    return _objects(list(numpy_column(column)))


def _item(item: pa.Scalar) -> Any:
    """Turn one vector or error into what Python has for it."""
    kind = item.type
    if not item.is_valid:
        return None
    if kind == SPARSE_TYPE:
        return {part: item[part].values.to_numpy() for part in ("indices", "values")}
    if pa.types.is_list(kind):
        return item.values.flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.value_type.list_size)
    return item.as_py()


def _objects(items: list[Any]) -> npt.NDArray[Any]:
    array = np.empty(len(items), object)
    for row, item in enumerate(items):
        array[row] = item
    return array


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column


def _converted(items: Iterable[Any], convert: Callable[[Any], Any], kind: pa.DataType) -> tuple[pa.Array, Errors]:
    converted: list[Any] = []
    errors: Errors = {}
    for row, item in enumerate(items):
        try:
            converted.append(None if item is None else convert(item))
        # Whatever one of them raises, no other row pays for it.
        except Exception as error:
            errors[row] = RowError.of(STAGE, error)
            converted.append(None)
    return pa.array(converted, kind), errors


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the text is {type(value).__name__}, not str")
    value.encode()
    return value


def _content(value: Any) -> bytes:
    """The content of an image's file."""
    if isinstance(value, Mapping):
        content = value.get("bytes")
        value = value.get("path") if content is None else content
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (str, Path)):
        return Path(value).read_bytes()
    # Imported by need: texts have nothing to do with images.
    from PIL import Image

    if isinstance(value, np.ndarray):
        pixels = value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value
        if pixels.dtype != np.uint8:
            raise TypeError(f"the image is an array of {pixels.dtype}, not uint8")
        value = Image.fromarray(pixels)
    if not isinstance(value, Image.Image):
        raise TypeError(f"the image is {type(value).__name__}: give a file's content, a path or a uint8 array")
    stream = io.BytesIO()
    value.save(stream, "PNG", compress_level=0)
    return stream.getvalue()
