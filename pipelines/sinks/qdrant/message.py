"""Points as the message of an upsert over gRPC: their vectors' numbers are copied as they lie in Arrow's columns.

The bytes are those of Protocol Buffers (protobuf.dev/programming-guides/encoding), of the messages in qdrant-client's
``points.proto``: packed numbers are a column's own, between the headers of the messages that they are in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import RestToGrpc

from embedders.arrow import dense_matrix
from embedders.base import VectorSpec
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.points import PAYLOAD_COLUMNS, list_ends, payload, row_ids, sparse_numbers

# Numbers of fields: of points in UpsertPoints; of vectors in PointStruct, and of named ones in Vectors.
_POINTS, _NAMED = 3, (4, 2)
# Of a map's entry, its key and value, and of the kinds of vectors in Vector.
_ENTRY, _KEY, _VALUE = 1, 1, 2
_DENSE, _SPARSE, _MULTIVECTOR = 101, 102, 103
# Of packed numbers in DenseVector and SparseVector, and of vectors in MultiDenseVector.
_NUMBERS, _INDICES, _TOKENS = 1, 2, 1
# The largest number that a varint of so many bytes has no room for.
_VARINT_ENDS = (1 << 7, 1 << 14, 1 << 21, 1 << 28)


def points_message(rows: pa.Table, job: JobFacts, specs: Mapping[str, VectorSpec], *, store_text: bool) -> bytes:
    """Write the field ``points`` of an ``UpsertPoints``: ids, payloads and vectors of rows.

    Raises ValueError for a payload with a number that the message does not hold.
    """
    named = [_entries(name, rows[name], spec) for name, spec in specs.items()]
    parts: list[Any] = []
    for start, *vectors in zip(_starts(rows, job, store_text), *named, strict=True):
        entries = b"".join(vectors)
        outer = _headers(_NAMED, len(entries))
        parts += [_headers((_POINTS,), len(start) + len(outer) + len(entries)), start, outer, entries]
    return b"".join(parts)


def _starts(rows: pa.Table, job: JobFacts, store_text: bool) -> Iterator[bytes]:
    """Write the points without their vectors, as protobuf's own library does."""
    stored = rows.select(PAYLOAD_COLUMNS).to_pylist()
    for name, row in zip(row_ids(rows), stored, strict=True):
        made = RestToGrpc.convert_payload(payload(row, job, store_text=store_text))
        yield messages.PointStruct(id=RestToGrpc.convert_extended_point_id(name), payload=made).SerializeToString()


def _entries(name: str, column: pa.ChunkedArray, spec: VectorSpec) -> Iterator[bytes]:
    """Write the entries of a vector in the points' maps of vectors."""
    array = column.combine_chunks()
    key = name.encode()
    key = _headers((_KEY,), len(key)) + key
    if spec.kind == "dense":
        matrix = _floats(dense_matrix(array))
        start = _entry_start(key, (_VALUE, _DENSE, _NUMBERS), matrix[:1].nbytes)
        return (start + row.tobytes() for row in matrix)
    if spec.kind == "multivector":
        return _multivector_entries(key, array)
    return _sparse_entries(key, array)


def _multivector_entries(key: bytes, array: pa.ListArray) -> Iterator[bytes]:
    numbers = _floats(dense_matrix(array.flatten()))
    start = np.frombuffer(_headers((_TOKENS, _NUMBERS), numbers.shape[1] * 4), np.uint8)
    tokens = np.empty((len(numbers), len(start) + numbers.shape[1] * 4), np.uint8)
    tokens[:, : len(start)] = start
    tokens[:, len(start) :] = numbers.view(np.uint8).reshape(len(numbers), -1)
    for first, end in pairwise(list_ends(array)):
        vectors = tokens[first:end].tobytes()
        yield _entry_start(key, (_VALUE, _MULTIVECTOR), len(vectors)) + vectors


def _sparse_entries(key: bytes, array: pa.StructArray) -> Iterator[bytes]:
    (at, at_ends), (by, by_ends) = sparse_numbers(array)
    indices, places = _varints(at.astype(np.uint32))
    values = _floats(by)
    for (first, end), (start, stop) in zip(pairwise(at_ends), pairwise(by_ends), strict=True):
        those = indices[places[first] : places[end]].tobytes()
        numbers = values[start:stop].tobytes()
        vector = b"".join((_headers((_NUMBERS,), len(numbers)), numbers, _headers((_INDICES,), len(those)), those))
        yield _entry_start(key, (_VALUE, _SPARSE), len(vector)) + vector


def _floats(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(numbers, "<f4")


def _varints(numbers: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Write numbers in groups of seven bits, the lowest first; also tells where each begins, and where all end."""
    sizes = 1 + sum((numbers >= end).astype(np.int64) for end in _VARINT_ENDS)
    groups = numbers[:, None] >> np.arange(0, 35, 7, dtype=np.uint32) & 0x7F
    steps = np.arange(5)
    groups |= np.where(steps < sizes[:, None] - 1, 0x80, 0).astype(np.uint32)
    return groups[steps < sizes[:, None]].astype(np.uint8), np.concatenate([[0], np.cumsum(sizes)])


@lru_cache(4096)
def _entry_start(key: bytes, path: tuple[int, ...], size: int) -> bytes:
    """Write what comes before ``size`` bytes that are, by the numbers of ``path``, in the value of a map's entry."""
    value = _headers(path, size)
    return _headers((_ENTRY,), len(key) + len(value) + size) + key + value


@lru_cache(4096)
def _headers(path: tuple[int, ...], size: int) -> bytes:
    """Write the headers of fields with bytes, one in the other, of which the innermost has ``size``."""
    written = b""
    for number in reversed(path):
        written = _varint(number << 3 | 2) + _varint(size + len(written)) + written
    return written


def _varint(number: int) -> bytes:
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
