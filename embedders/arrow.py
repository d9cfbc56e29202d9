"""Arrow columns of vectors, built from NumPy buffers without a Python object a number.

| kind        | Arrow type                                                 |
| ----------- | ---------------------------------------------------------- |
| dense       | fixed_size_list<float32 or float16>[dim]                   |
| sparse      | struct<indices: list<uint32>, values: list<float32>>       |
| multivector | list<fixed_size_list<float32 or float16>[dim]>             |
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# Numbers of dense and token vectors.
Precision: TypeAlias = Literal["float32", "float16"]

SPARSE_TYPE = pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])


def vector_dtype(precision: Precision) -> np.dtype[np.floating]:
    """NumPy's dtype of dense and token vectors; raises ValueError for one that stores do not take."""
    if precision not in get_args(Precision):
        raise ValueError(f"dtype must be float32 or float16, got {precision!r}")
    return np.dtype(precision)


def dense_type(dim: int, dtype: npt.DTypeLike = np.float32) -> pa.DataType:
    """Arrow type of a column of dense vectors of ``dim`` numbers."""
    return pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), dim)


def dense_array(matrix: npt.NDArray[np.floating], *, valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Wrap a (rows, dim) float32 or float16 matrix as fixed-size lists; rows that are not ``valid`` are null."""
    rows, dim = matrix.shape
    flat = pa.array(np.ascontiguousarray(matrix).reshape(-1))
    mask = None if valid is None else pa.array(~valid)
    if rows == 0:
        return pa.array([], type=dense_type(dim, matrix.dtype))
    return pa.FixedSizeListArray.from_arrays(flat, dim, mask=mask)


def multivector_type(dim: int, dtype: npt.DTypeLike = np.float32) -> pa.DataType:
    """Arrow type of a column of multivectors whose vectors have ``dim`` numbers."""
    return pa.list_(dense_type(dim, dtype))


def multivector_array(offsets: npt.NDArray[np.integer], vectors: npt.NDArray[np.floating]) -> pa.Array:
    """Wrap token vectors as multivectors: row r owns ``vectors[offsets[r]:offsets[r + 1]]``, (tokens, dim)."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32, copy=False)), dense_array(vectors))


def number_type(vectors: pa.DataType) -> pa.DataType:
    """Arrow type of the numbers in dense vectors or multivectors of this type."""
    while hasattr(vectors, "value_type"):
        vectors = vectors.value_type
    return vectors


def sparse_array(
    offsets: npt.NDArray[np.integer],
    indices: npt.NDArray[np.integer],
    values: npt.NDArray[np.floating],
    *,
    valid: npt.NDArray[np.bool_] | None = None,
) -> pa.Array:
    """Wrap CSR arrays as sparse vectors.

    ``offsets`` has rows + 1 entries; row r owns ``indices[offsets[r]:offsets[r + 1]]`` (uint32) and the
    ``values`` (float32) at the same positions. Rows that are not ``valid`` are null.
    """
    ends = pa.array(offsets.astype(np.int32, copy=False))
    columns = [
        pa.ListArray.from_arrays(ends, pa.array(indices.astype(np.uint32, copy=False))),
        pa.ListArray.from_arrays(ends, pa.array(values.astype(np.float32, copy=False))),
    ]
    mask = None if valid is None else pa.array(~valid)
    return pa.StructArray.from_arrays(columns, fields=list(SPARSE_TYPE), mask=mask)


def dense_matrix(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.floating]:
    """Read a column of dense vectors without nulls as a (rows, dim) matrix; no copy where Arrow allows it."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if column.null_count:
        raise ValueError(f"{column.null_count} of {len(column)} vectors are null; drop those rows first")
    flat: npt.NDArray[np.floating] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), column.type.list_size)


def matrix_with_nan(column: pa.FixedSizeListArray) -> npt.NDArray[np.floating]:
    """Copy a column of dense vectors to a (rows, dim) matrix, with NaN in the rows that are null."""
    if not column.null_count:
        return np.array(dense_matrix(column))
    kind = column.type
    matrix: npt.NDArray[np.floating] = np.full((len(column), kind.list_size), np.nan, kind.value_type.to_pandas_dtype())
    matrix[column.is_valid().to_numpy(zero_copy_only=False)] = dense_matrix(column.drop_null())
    return matrix
