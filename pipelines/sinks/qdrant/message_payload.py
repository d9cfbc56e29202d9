"""Points without their vectors, as messages: ids, and payloads of which texts and hashes are copied from columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import RestToGrpc

from pipelines.hashing import entries, join
from pipelines.rows import HASHES
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.plain import PlainFacts, plain_payloads
from pipelines.sinks.qdrant.points import OURS, PointId, job_marks, own_columns, provenance, row_ids, row_keys
from pipelines.sinks.qdrant.protobuf import entry_start

# Numbers of fields: of the payload in PointStruct, and of texts and objects in Value.
_PAYLOAD, _TEXT, _OBJECT = 3, 4, 6


def points_without_vectors(rows: pa.Table, job: JobFacts, *, store_text: bool) -> Iterator[bytes]:
    """Write the ``PointStruct`` of each row; raises ValueError for a number that a payload does not hold."""
    if isinstance(job, PlainFacts):
        for name, payload in zip(row_ids(rows), plain_payloads(rows), strict=True):
            yield _point(name, payload).SerializeToString()
        return
    names = own_columns(job, store_text=store_text)
    texts = [name for name in names if rows.schema.field(name).type in (pa.string(), pa.large_string())]
    numbers = rows.select([name for name in names if name not in texts]).to_pylist()
    parts: list[Iterable[bytes]] = [_text_entries(name, rows[name]) for name in texts]
    if (hashes := _provenances(rows, job)) is not None:
        parts.append(hashes)
    else:
        for row, made in zip(numbers, rows.select(HASHES).to_pylist(), strict=True):
            row[OURS] = provenance(made, job)
    payloads = rows["payload"].to_pylist()
    for name, stored, row, *others in zip(row_ids(rows), payloads, numbers, *parts, strict=True):
        point = _point(name, {**row_keys(stored), **row})
        yield b"".join((point.SerializeToString(), *others))


def _point(name: PointId, payload: dict[str, Any]) -> messages.PointStruct:
    made = RestToGrpc.convert_payload(payload)
    return messages.PointStruct(id=RestToGrpc.convert_extended_point_id(name), payload=made)


def _text_entries(key: str, column: pa.ChunkedArray) -> Iterator[bytes]:
    nothing = messages.PointStruct(payload=RestToGrpc.convert_payload({key: None})).SerializeToString()
    return (nothing if text is None else _text_entry(key, text, _PAYLOAD) for text in entries(column))


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
