"""Points of a page as a table, all of them together: the same that ``rows.point_row`` makes of each alone.

Only what has no doubt about it is done here. Where a point has something odd, none of a page's rows is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hashing import join, xxh3_64_hex, xxh3_128_hex
from pipelines.rows import HASHES, IDENTIFIED_SCHEMA
from pipelines.sinks.qdrant.points import OURS
from pipelines.sources.json_columns import OddError, json_objects
from pipelines.sources.json_lines import json_column, values_by_key
from pipelines.sources.qdrant.ids import Id, texts_of
from pipelines.sources.qdrant.rows import INT32, SPAN, WRITTEN

_NUMBERS = ("chunk_no", *SPAN)


def page_table(ids: Sequence[Id], payloads: Sequence[Any], text_key: str, title: str) -> pa.Table | None:
    """Make a table of IDENTIFIED_SCHEMA of points; None where one of them must be looked at alone."""
    try:
        values = values_by_key([list(payloads)])
        return None if values is None else _table(texts_of(ids), values, text_key, title)
    except (OddError, ValueError, TypeError, OverflowError, RecursionError, pa.ArrowException):
        return None


def _table(ids: pa.Array, values: Mapping[str, list[Any]], text_key: str, title: str) -> pa.Table:
    rows, kinds = len(ids), {name: set(map(type, its)) for name, its in values.items()}
    is_ours = OURS in values
    texts = pa.array(_of_type(values, kinds, text_key, str), pa.large_string())
    if is_ours and ("payload" in values or kinds[OURS] != {dict}):
        raise OddError("points of others among ours, or keys that had names of ours")
    dropped = {*(WRITTEN if is_ours else ()), *(("text",) if text_key == "text" else ())}
    own = {name: json_column(its, kinds[name]) for name, its in values.items() if name not in dropped}
    payloads = json_objects(own, rows)
    chunk_no, start, end = (pa.array(np.zeros(rows, np.int64)), pa.array(np.zeros(rows, np.int64)), None)
    hashed = payloads
    if is_ours and "chunk_no" in values:
        chunk_no, start, end = (_numbers(values, kinds, name) for name in _NUMBERS)
        spans = [pa.scalar("(", texts.type), _text(start), pa.scalar(", ", texts.type), _text(end)]
        hashed = join(payloads, *spans, pa.scalar(")", texts.type))
    lengths = pc.utf8_length(texts)
    made = {"text_hash": xxh3_64_hex(texts), "payload_hash": xxh3_64_hex(hashed)}
    if is_ours:
        contents = _held_hashes(values[OURS], made)
    else:
        contents = xxh3_128_hex(join(_text(lengths), pa.scalar(":", texts.type), texts, hashed))
    columns = {
        "document_id": pa.array(_of_type(values, kinds, "document_id", str), pa.string()) if is_ours else ids,
        "text": texts,
        "payload": payloads,
        "origin": join(pa.scalar(f"{title}: point "), ids),
        "chunk_no": chunk_no,
        "chunk_start": start,
        "chunk_end": lengths if end is None else end,
        "id": ids,
        **dict(zip(HASHES, (contents, made["text_hash"], made["payload_hash"]), strict=True)),
    }
    made_columns = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in IDENTIFIED_SCHEMA
    ]
    return pa.table(made_columns, schema=IDENTIFIED_SCHEMA)


def _of_type(values: Mapping[str, list[Any]], kinds: Mapping[str, set[type]], name: str, kind: type) -> list[Any]:
    if kinds.get(name) != {kind}:
        raise OddError(f"{name!r} is not in all points, or no {kind.__name__}")
    return values[name]


def _numbers(values: Mapping[str, list[Any]], kinds: Mapping[str, set[type]], name: str) -> pa.Array:
    numbers = pa.array(_of_type(values, kinds, name, int), pa.int64())
    ends = pc.min_max(numbers).as_py()
    if ends["min"] not in INT32 or ends["max"] not in INT32:
        raise OddError(f"{name!r} is out of range")
    return numbers


def _text(numbers: pa.Array) -> pa.Array:
    return numbers.cast(pa.large_string())


def _held_hashes(held: Sequence[Mapping[str, Any]], made: Mapping[str, pa.Array]) -> pa.Array:
    """Take over the content hashes that points have, where these are of the text and payload that they have."""
    values = values_by_key([list(held)]) or {}
    if any(values.get(name) != hashes.to_pylist() for name, hashes in made.items()):
        raise OddError("a point was changed since it was hashed")
    contents = values.get("content_hash", [])
    if set(map(type, contents)) != {str} or not all(contents):
        raise OddError("a point without a content hash")
    return pa.array(contents, pa.string())
