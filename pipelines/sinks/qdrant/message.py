"""Points as the message of an upsert over gRPC: their vectors' numbers are copied as they lie in Arrow's columns.

The messages are those in qdrant-client's ``points.proto``: packed numbers are a column's own, between the headers of
the messages that they are in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import dense_matrix
from embedders.base import VectorSpec
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.message_payload import points_without_vectors
from pipelines.sinks.qdrant.points import list_ends, sparse_numbers
from pipelines.sinks.qdrant.protobuf import entry_start, headers, varints

# Numbers of fields: of points in UpsertPoints, of vectors in PointStruct, and of named ones in Vectors.
_POINTS, _NAMED = 3, (4, 2)
# Of the kinds of vectors in Vector.
_DENSE, _SPARSE, _MULTIVECTOR = 101, 102, 103
# Of packed numbers in DenseVector and SparseVector, and of vectors in MultiDenseVector.
_NUMBERS, _INDICES, _TOKENS = 1, 2, 1
Piece: TypeAlias = bytes | memoryview


def points_message(rows: pa.Table, job: JobFacts, specs: Mapping[str, VectorSpec], *, store_text: bool) -> bytes:
    """Write the field ``points`` of an ``UpsertPoints``: ids, payloads and vectors of rows.

    Raises ValueError for a payload with a number that the message does not hold.
    """
    named = [_entries(name, rows[name], spec) for name, spec in specs.items()]
    parts: list[Piece] = []
    for start, *entries in zip(points_without_vectors(rows, job, store_text=store_text), *named, strict=True):
        vectors = [piece for entry in entries for piece in entry]
        size = sum(map(len, vectors))
        outer = headers(_NAMED, size)
        parts += [headers((_POINTS,), len(start) + len(outer) + size), start, outer, *vectors]
    return b"".join(parts)


def _entries(name: str, column: pa.ChunkedArray, spec: VectorSpec) -> Iterator[tuple[Piece, ...]]:
    """Write the entries of a vector in the points' maps of vectors, in pieces of bytes."""
    array = column.combine_chunks()
    if spec.kind == "dense":
        matrix = _floats(dense_matrix(array))
        start = entry_start(name, (_DENSE, _NUMBERS), matrix[:1].nbytes)
        return ((start, row) for row in _bytes_of_rows(matrix))
    if spec.kind == "multivector":
        return _multivector_entries(name, array)
    return _sparse_entries(name, array)


def _multivector_entries(name: str, array: pa.ListArray) -> Iterator[tuple[Piece, ...]]:
    numbers = _floats(dense_matrix(array.flatten()))
    start = np.frombuffer(headers((_TOKENS, _NUMBERS), numbers.shape[1] * 4), np.uint8)
    tokens = np.empty((len(numbers), len(start) + numbers.shape[1] * 4), np.uint8)
    tokens[:, : len(start)] = start
    tokens[:, len(start) :] = numbers.view(np.uint8)
    written = tokens.reshape(-1).data
    for first, end in pairwise(list_ends(array)):
        vectors = written[first * tokens.shape[1] : end * tokens.shape[1]]
        yield entry_start(name, (_MULTIVECTOR,), len(vectors)), vectors


def _sparse_entries(name: str, array: pa.StructArray) -> Iterator[tuple[Piece, ...]]:
    (at, at_ends), (by, by_ends) = sparse_numbers(array)
    indices, places = varints(at.astype(np.uint32))
    written, values = indices.tobytes(), _floats(by).tobytes()
    spans = zip(pairwise(places[at_ends].tolist()), pairwise(by_ends), strict=True)
    for (first, end), (start, stop) in spans:
        before, between = headers((_NUMBERS,), (stop - start) * 4), headers((_INDICES,), end - first)
        size = len(before) + (stop - start) * 4 + len(between) + end - first
        whole = entry_start(name, (_SPARSE,), size)
        yield whole + before, values[start * 4 : stop * 4], between, written[first:end]


def _bytes_of_rows(matrix: npt.NDArray[np.float32]) -> Iterator[memoryview]:
    written, size = matrix.reshape(-1).view(np.uint8).data, matrix[:1].nbytes
    return (written[start : start + size] for start in range(0, matrix.nbytes, size))


def _floats(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(numbers, "<f4")
