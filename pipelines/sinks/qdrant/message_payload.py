"""Points without their vectors, as messages: ids, and payloads of which texts and hashes are copied from columns."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import starmap
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import RestToGrpc

from embedders.wire_format import FIXED64, varint
from pipelines.hashing import entries, join
from pipelines.rows import HASHES
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.plain import PlainFacts, plain_payloads
from pipelines.sinks.qdrant.points import OURS, PointId, job_marks, own_columns, provenance, row_ids, row_keys
from pipelines.sinks.qdrant.protobuf import entry_start, headers

# Numbers of fields: of points in UpsertPoints, in PointStruct, of UUIDs in PointId, and in Value.
_POINTS = 3
_ID, _PAYLOAD = 1, 3
_UUID = 2
_DOUBLE, _INTEGER, _TEXT, _BOOL, _OBJECT = 2, 3, 4, 5, 6
_FLOAT = struct.Struct("<Bd")
# A payload with so few opening brackets is not nested as deeply as messages may not be: 100 messages, 3 an object.
_SHALLOW = 25


def points_without_vectors(rows: pa.Table, job: JobFacts, *, store_text: bool) -> Iterator[bytes]:
    """Write the ``PointStruct`` of each row; raises ValueError for a number that a payload does not hold."""
    payloads = rows["payload"].to_pylist()
    if isinstance(job, PlainFacts):
        keys: Iterable[dict[str, Any]] = plain_payloads(rows)
        columns: list[Iterable[bytes]] = []
    else:
        own, columns = _own(rows, job, store_text=store_text)
        keys = ({**row_keys(stored), **row} for stored, row in zip(payloads, own, strict=True))
    for name, stored, row, *others in zip(row_ids(rows), payloads, keys, *columns, strict=True):
        point = b"".join((_id(name), *starmap(_entry, row.items()), *others))
        if stored is not None and stored.count("{") + stored.count("[") > _SHALLOW:
            _refuse_too_deep(point)
        yield point


def _own(rows: pa.Table, job: JobFacts, *, store_text: bool) -> tuple[list[dict[str, Any]], list[Iterable[bytes]]]:
    """Return ``own_keys``: rows of those that are no texts, and columns of the entries of the others."""
    names = own_columns(job, store_text=store_text)
    texts = [name for name in names if rows.schema.field(name).type in (pa.string(), pa.large_string())]
    others: list[dict[str, Any]] = rows.select([name for name in names if name not in texts]).to_pylist()
    columns: list[Iterable[bytes]] = [_text_entries(name, rows[name]) for name in texts]
    if (hashes := _provenances(rows, job)) is not None:
        columns.append(hashes)
    else:
        for row, made in zip(others, rows.select(HASHES).to_pylist(), strict=True):
            row[OURS] = provenance(made, job)
    return others, columns


def _refuse_too_deep(point: bytes) -> None:
    """Raise ValueError for a point that a server cannot read in an upsert."""
    try:
        messages.UpsertPoints.FromString(headers((_POINTS,), len(point)) + point)
    except DecodeError as error:
        raise _too_deep(error) from None


def _too_deep(error: Exception) -> ValueError:
    return ValueError(f"a payload is nested too deeply for a message ({error})")


def _id(name: PointId) -> bytes:
    if isinstance(name, int):
        made = messages.PointStruct(id=RestToGrpc.convert_extended_point_id(name))
        return bytes(made.SerializeToString())
    text = str(name).encode()
    return headers((_ID, _UUID), len(text)) + text


def _entry(key: str, value: Any) -> bytes:
    """Write the entry of one key and what it says."""
    kind = type(value)
    if kind is str:
        return _text_entry(key, value.encode(), _PAYLOAD)
    if kind is int and 0 <= value < 1 << 63:
        number = bytes((_INTEGER << 3,)) + varint(value)
        return entry_start(key, (), len(number), _PAYLOAD) + number
    if kind is float:
        return entry_start(key, (), 9, _PAYLOAD) + _FLOAT.pack(_DOUBLE << 3 | FIXED64, value)
    if kind is bool:
        return entry_start(key, (), 2, _PAYLOAD) + bytes((_BOOL << 3, value))
    try:
        return bytes(messages.PointStruct(payload=RestToGrpc.convert_payload({key: value})).SerializeToString())
    except (DecodeError, EncodeError) as error:
        raise _too_deep(error) from None


def _text_entries(key: str, column: pa.ChunkedArray) -> Iterator[bytes]:
    return (_entry(key, None) if text is None else _text_entry(key, text, _PAYLOAD) for text in entries(column))


def _text_entry(key: str, text: bytes, field: int) -> bytes:
    return entry_start(key, (_TEXT,), len(text), field) + text


def _provenances(rows: pa.Table, job: JobFacts) -> Iterable[bytes] | None:
    """Write what the points are made from; None where hashes are not of one length each, as in what was copied."""
    sizes: list[int] = []
    for name in HASHES:
        ends = pc.min_max(pc.binary_length(rows[name])).as_py()
        if rows[name].null_count or ends["min"] != ends["max"]:
            return None
        sizes.append(ends["max"])
    marks = b"".join(_text_entry(key, text.encode(), 1) for key, text in job_marks(job).items())
    starts = [entry_start(name, (_TEXT,), size) for name, size in zip(HASHES, sizes, strict=True)]
    whole = sum(map(len, starts)) + sum(sizes) + len(marks)
    parts: list[Any] = [_binary(entry_start(OURS, (_OBJECT,), whole, _PAYLOAD))]
    for name, start in zip(HASHES, starts, strict=True):
        parts += [_binary(start), rows[name].cast(pa.binary())]
    return entries(join(*parts, _binary(marks)))


def _binary(value: bytes) -> pa.Scalar:
    return pa.scalar(value, pa.binary())
