"""Points of a collection as rows that keep their ids, documents, chunks and payload."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from pipelines.identity import content_hash, payload_hash, text_hash
from pipelines.rows import RowError, identified_table
from pipelines.sinks.qdrant.points import OURS
from pipelines.sources.qdrant.ids import as_text
from pipelines.sources.records import STAGE
from pipelines.sources.rows import clean, parse_payload

SPAN = ("chunk_start", "chunk_end")
# What a sink writes of a row beside its payload; the text has a key that the source names.
WRITTEN = frozenset(("document_id", "chunk_no", *SPAN, OURS))
INT32 = range(1 << 31)


def is_ours(payload: dict[str, Any]) -> bool:
    """Tell whether a job of this tool wrote a point, by its payload."""
    return isinstance(payload.get(OURS), dict)


def is_chunk(payload: dict[str, Any]) -> bool:
    """Tell whether a point is a chunk that a job of this tool cut."""
    return is_ours(payload) and isinstance(payload.get("chunk_no"), int)


def own_payload(payload: dict[str, Any], text_key: str) -> dict[str, Any]:
    """Take out of a point's payload what a sink would write again: see ``pipelines.sinks.qdrant.points.payload``.

    The text stays in where a sink would not write it under that key: whoever reads the collection looks for it there.
    """
    own = {key: value for key, value in payload.items() if key != text_key or text_key != "text"}
    if not is_ours(payload):
        return own
    own = {key: value for key, value in own.items() if key not in WRITTEN}
    # Keys of the document's own that had names of ours.
    moved = own.get("payload")
    return (
        {**{key: value for key, value in own.items() if key != "payload"}, **moved} if isinstance(moved, dict) else own
    )


def point_row(point: Any, text_key: str) -> dict[str, Any]:
    """Make a row of IDENTIFIED_SCHEMA of a point, without its origin; ``error`` is a RowError or None.

    The content hash of a point of ours is the one that it has, since a document of the first source has it too; unless
    text or payload are not those that were hashed. Dead rows have no hashes.
    """
    payload = point.payload or {}
    name = as_text(point.id)
    text, error = _text(payload, text_key)
    own, payload_error = parse_payload(own_payload(payload, text_key))
    error = error or payload_error
    row = {"id": name, "text": text, "payload": own, "error": error, **_chunk(payload, name, text)}
    if error is None:
        span = (row["chunk_start"], row["chunk_end"]) if is_chunk(payload) else None
        row |= {"text_hash": text_hash(text), "payload_hash": payload_hash(own, span)}
        row["content_hash"] = _held_hash(payload, row) or content_hash(text, f"{own}{span or ''}")
    return row


def to_table(rows: Iterable[dict[str, Any]], title: str) -> pa.Table:
    """Make a table of IDENTIFIED_SCHEMA of rows; ``title`` is that of the collection."""
    return identified_table([{**row, "origin": f"{title}: point {row['id']}"} for row in rows])


def _text(payload: dict[str, Any], key: str) -> tuple[str | None, RowError | None]:
    text = payload.get(key)
    if isinstance(text, str):
        return clean(text, "the text", "InvalidText")
    found = (
        "is not there" if key not in payload else "is null" if text is None else f"is {type(text).__name__}, no text"
    )
    return None, RowError(STAGE, "NoText", f"the payload's key {key!r} {found}")


def _chunk(payload: dict[str, Any], name: str, text: str | None) -> dict[str, Any]:
    """Which document a point is of, and which part of it."""
    whole: dict[str, Any] = {"document_id": name, "chunk_no": 0, "chunk_start": 0, "chunk_end": len(text or "")}
    if not is_ours(payload):
        return whole
    if isinstance(document := payload.get("document_id"), str):
        whole["document_id"] = document
    if is_chunk(payload):
        # What is no integer would be looked for in the range number by number.
        numbers = {key: payload[key] for key in ("chunk_no", *SPAN) if isinstance(payload.get(key), int)}
        whole |= {key: number for key, number in numbers.items() if number in INT32}
    return whole


def _held_hash(payload: dict[str, Any], row: dict[str, Any]) -> str | None:
    """The content hash that a point has; None where that is not of the content that it has."""
    held = payload.get(OURS)
    if not isinstance(held, dict):
        return None
    fits = all(held.get(key, row[key]) == row[key] for key in ("text_hash", "payload_hash"))
    found = held.get("content_hash")
    return found if fits and isinstance(found, str) else None
