"""Columns of vectors as files have them, checked and put into the types that sinks take; no Python object a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from embedders.arrow import SPARSE_TYPE, dense_array, number_type, sparse_array
from embedders.base import VectorSpec

Rows = npt.NDArray[np.bool_]
# Of a sparse vector, whose indices are 32-bit integers.
MOST_INDEX = 2**32 - 1
# By row, why its vector cannot be used.
Faults = dict[int, str]


def checked_vectors(column: pa.Array | pa.ChunkedArray, spec: VectorSpec) -> tuple[pa.Array, Faults]:
    """Give a column the type of ``spec``, and say of which rows the vector cannot be used, and why: null is there then.

    Dense vectors and multivectors may be lists of any kind, of fixed size or not. A null is a vector that is missing,
    and no fault. Faults are numbers that are not finite, a wrong number of them, and, in sparse vectors, an index that
    comes twice; indices are sorted.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if spec.kind == "sparse":
        return _sparse(array)
    return (_dense if spec.kind == "dense" else _multi)(array, spec)


def vector_digests(columns: Sequence[pa.ChunkedArray]) -> list[str]:
    """Hash the vectors of each row, as they are in a file, to 128 bits, in hex."""
    hashers = [xxhash.xxh3_128() for _ in range(len(columns[0]) if columns else 0)]
    for column in columns:
        for hasher, vector in zip(hashers, column, strict=True):
            parts = [vector[name] for name in ("indices", "values")] if pa.types.is_struct(column.type) else [vector]
            for part in parts:
                hasher.update(b"[" if part.is_valid else b"-")
                numbers = part.values
                while numbers is not None and hasattr(numbers.type, "value_type"):
                    numbers = numbers.flatten()
                hasher.update(b"" if numbers is None else numbers.to_numpy(zero_copy_only=False).tobytes())
    return [hasher.hexdigest() for hasher in hashers]


def _dense(array: pa.Array, spec: VectorSpec) -> tuple[pa.Array, Faults]:
    there, lengths = _valid(array), _lengths(array)
    right = there & (lengths == spec.dim)
    wrong = np.flatnonzero(there & ~right).tolist()
    faults = {row: f"it has {lengths[row]:,} numbers, not {spec.dim:,}" for row in wrong}
    matrix = _matrix(array.filter(pa.array(right)), spec)
    finite = np.isfinite(matrix).all(axis=1)
    rows = np.flatnonzero(right)
    faults |= dict.fromkeys(rows[~finite].tolist(), "it has numbers that are not finite")
    if array.type == spec.arrow_type and not faults:
        return array, faults
    full = np.zeros((len(array), spec.dim or 0), _dtype(spec))
    full[rows[finite]] = _stored(matrix[finite], full.dtype)
    return dense_array(full, valid=there & ~_at(faults, len(array))), faults


def _multi(array: pa.Array, spec: VectorSpec) -> tuple[pa.Array, Faults]:
    there, lengths = _valid(array), _lengths(array)
    vectors = array.flatten()
    row_of = np.repeat(np.arange(len(array)), lengths)
    right = _valid(vectors) & (_lengths(vectors) == spec.dim)
    matrix = _matrix(vectors.filter(pa.array(right)), spec)
    finite = np.isfinite(matrix).all(axis=1)
    faults = dict.fromkeys(row_of[~right].tolist(), f"one of its vectors has not {spec.dim} numbers")
    faults |= dict.fromkeys(row_of[right][~finite].tolist(), "it has numbers that are not finite")
    if array.type == spec.arrow_type and not faults:
        return array, faults
    good = there & ~_at(faults, len(array))
    kept = _stored(matrix[good[row_of[right]]], _dtype(spec))
    ends = np.concatenate([[0], np.cumsum(np.where(good, lengths, 0))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), dense_array(kept), mask=pa.array(~good)), faults


def _sparse(array: pa.Array) -> tuple[pa.Array, Faults]:
    there = _valid(array)
    indices, values = (pc.struct_field(array, name) for name in ("indices", "values"))
    lengths = _lengths(indices)
    faults: Faults = dict.fromkeys(
        np.flatnonzero(there & ((lengths != _lengths(values)) | ~_valid(indices) | ~_valid(values))).tolist(),
        "it has not as many indices as values",
    )
    good = there & ~_at(faults, len(array))
    lengths = np.where(good, lengths, 0)
    row_of = np.repeat(np.arange(len(array)), lengths)
    flat = [one.filter(pa.array(good)).flatten() for one in (indices, values)]
    known = _valid(flat[0]) & _valid(flat[1])
    at = pc.fill_null(flat[0], 0).to_numpy(zero_copy_only=False)
    by = pc.fill_null(flat[1], 0).to_numpy(zero_copy_only=False)
    faults |= dict.fromkeys(row_of[~known | ~np.isfinite(by)].tolist(), "it has numbers that are not finite")
    outside = known & ~((at >= 0) & (at <= MOST_INDEX) & (at == np.trunc(at)))
    faults |= dict.fromkeys(row_of[outside].tolist(), f"an index in it is no whole number from 0 to {MOST_INDEX}")
    same_row = row_of[1:] == row_of[:-1]
    in_order = bool((at[1:] > at[:-1])[same_row].all())
    if not in_order:
        order = np.lexsort((at, row_of))
        at, by = at[order], by[order]
        twice = same_row & (at[1:] == at[:-1])
        faults |= dict.fromkeys(row_of[1:][twice].tolist(), "an index comes twice in it")
    if array.type == SPARSE_TYPE and in_order and not faults:
        return array, faults
    good = there & ~_at(faults, len(array))
    kept = good[row_of]
    ends = np.concatenate([[0], np.cumsum(np.where(good, lengths, 0))])
    return sparse_array(ends, at[kept], by[kept], valid=good), faults


def _matrix(vectors: pa.Array, spec: VectorSpec) -> npt.NDArray[np.floating]:
    numbers: npt.NDArray[np.floating] = vectors.flatten().to_numpy(zero_copy_only=False)
    dtype = _dtype(spec)
    if np.issubdtype(dtype, np.floating) and numbers.dtype != dtype:
        # What is past the largest number of the type is not finite in it.
        with np.errstate(over="ignore"):
            numbers = numbers.astype(dtype)
    return numbers.reshape(len(vectors), spec.dim or 0)


def _stored(matrix: npt.NDArray[np.floating], dtype: np.dtype[np.generic]) -> npt.NDArray[Any]:
    """Give finite numbers the type that a collection keeps: bytes are cut to 0 and 255, as Qdrant itself does."""
    if dtype == np.uint8:
        matrix = np.clip(matrix, 0, 255)
    return matrix.astype(dtype)


def _dtype(spec: VectorSpec) -> np.dtype[np.generic]:
    dtype: np.dtype[np.generic] = np.dtype(number_type(spec.arrow_type).to_pandas_dtype())
    return dtype


def _valid(array: pa.Array) -> Rows:
    valid: Rows = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _lengths(array: pa.Array) -> npt.NDArray[np.int64]:
    if pa.types.is_fixed_size_list(array.type):
        return np.where(_valid(array), array.type.list_size, 0)
    lengths: npt.NDArray[np.int64] = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64)


def _at(faults: Faults, rows: int) -> Rows:
    marks = np.zeros(rows, bool)
    marks[list(faults)] = True
    return marks
