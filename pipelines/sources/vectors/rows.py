"""Rows of files with vectors as rows of IDENTIFIED_SCHEMA: of a Parquet sink by columns, points by their payload."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pyarrow as pa

from pipelines.identity import content_hash, payload_hash, text_hash
from pipelines.rows import HASHES, IDENTIFIED_SCHEMA, RowError, identified_table, set_column
from pipelines.sinks.parquet.payload import REST, columns_of, joined_payloads
from pipelines.sources.records import STAGE
from pipelines.sources.vectors.files import Content


def sink_rows(read: pa.Table, content: Content) -> pa.Table:
    """Take over the columns of a Parquet sink; those that it has not are null, but for hashes that can be made."""
    in_columns = columns_of(content.provenance, read.schema)
    if in_columns is not None:
        read = set_column(read, REST, joined_payloads(read, in_columns))
    columns = {
        field.name: read[field.name].cast(field.type)
        if field.name in read.column_names
        else pa.nulls(read.num_rows, field.type)
        for field in IDENTIFIED_SCHEMA
    }
    if not set(HASHES) <= set(read.column_names):
        columns |= _hashes(read, chunked=content.provenance["chunked"])
    return pa.table(columns, schema=IDENTIFIED_SCHEMA)


def _hashes(read: pa.Table, *, chunked: bool) -> dict[str, pa.Array]:
    """Hash text and payload, as files of older versions do not; null where the text is not all that was embedded."""
    names = ["payload", "chunk_start", "chunk_end", "content_hash", *(["text"] if "text" in read.column_names else [])]
    names += ["chunk_count"] if chunked else []
    texts: list[str | None] = []
    payloads: list[str | None] = []
    for row in read.select(names).to_pylist():
        span = (row["chunk_start"], row["chunk_end"]) if chunked else None
        whole = row["payload"] if span is None else f"{row['payload']}{(*span, row['chunk_count'])}"
        known = "text" in row and content_hash(row["text"], whole) == row["content_hash"]
        texts.append(text_hash(row["text"]) if known else None)
        payloads.append(payload_hash(row["payload"], span))
    return {"text_hash": pa.array(texts, pa.string()), "payload_hash": pa.array(payloads, pa.string())}


def exported_rows(read: pa.Table, content: Content) -> pa.Table:
    """Make rows of points, whose payload is JSON; one that another job wrote is dead."""
    # Imported late: qdrant-client takes a second, and files of a Parquet sink need none.
    from pipelines.sources.qdrant.copied import copied_row

    rows = []
    for name, text in zip(read["id"].to_pylist(), read["payload"].to_pylist(), strict=True):
        try:
            payload = json.loads(text or "{}")
            if not isinstance(payload, dict):
                raise ValueError("it is no object")
        except (ValueError, RecursionError) as error:
            why = RowError(STAGE, "InvalidPayload", f"the payload cannot be read: {error}")
            rows.append({"id": name, "document_id": name, "error": why})
            continue
        rows.append(copied_row(SimpleNamespace(id=name, payload=payload), content))
    return identified_table(rows)
