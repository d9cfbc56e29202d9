"""Columns of a row on its way from source to sink, and how a row is named.

Vector columns come ready-made from the embedders; every other column is built here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# Of an exception's message.
MOST_CHARACTERS = 500
ERROR_TYPE = pa.struct([("stage", pa.string()), ("type", pa.string()), ("message", pa.string())])

# Encoded bytes of a row's image, as they were read. No embedding's column can have such a name.
IMAGE_COLUMN = "_image"

# What every source yields. `payload` is a JSON object; `origin` says where a row was read ("docs.jsonl:17"). Text and
# image are null where a live row has none; it has one of them at least. A dead row has no image.
SOURCE_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("text", pa.large_string()),
        ("payload", pa.large_string()),
        (IMAGE_COLUMN, pa.large_binary()),
        ("origin", pa.string()),
        ("error", ERROR_TYPE),
    ]
)

# Characters [chunk_start, chunk_end) of the document's text; a document that is not cut is its own chunk 0.
CHUNK_SCHEMA = pa.schema(
    [
        *SOURCE_SCHEMA,
        ("chunk_no", pa.int32()),
        ("chunk_start", pa.int64()),
        ("chunk_end", pa.int64()),
        ("chunk_count", pa.int32()),
    ]
)

# `id` is the point id: a UUID, or an unsigned integer in decimal. Of the hashes, the one of the text covers all that
# vectors are made from, the one of the payload all the rest, and the one of the content both.
HASHES = ("content_hash", "text_hash", "payload_hash")
IDENTIFIED_SCHEMA = pa.schema([*CHUNK_SCHEMA, ("id", pa.string()), *((name, pa.string()) for name in HASHES)])


@dataclass(frozen=True)
class RowError:
    """Why one row is dead."""

    stage: str
    type: str
    message: str

    @classmethod
    def of(cls, stage: str, exception: BaseException) -> RowError:
        """Make one from an exception; its message is cut so that a text quoted in it cannot fill the report."""
        kind = type(exception).__name__
        try:
            message = str(exception)[:MOST_CHARACTERS] or repr(exception)[:MOST_CHARACTERS]
        # An exception of a library may fail even at telling what happened.
        except Exception:
            message = kind
        if isinstance(exception, RecursionError):
            message = f"the row is nested too deeply ({message})"
        return cls(stage, kind, message)


def error_array(errors: Sequence[RowError | None]) -> pa.Array:
    """Build the error column: null where all went well."""
    rows = [None if error is None else _entry(error) for error in errors]
    return pa.array(rows, type=ERROR_TYPE)


def identified_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Make a table of IDENTIFIED_SCHEMA of rows; a key that is missing is null, and ``error`` a RowError or None."""
    columns = [
        error_array([row.get("error") for row in rows])
        if field.name == "error"
        else pa.array([row.get(field.name) for row in rows], field.type)
        for field in IDENTIFIED_SCHEMA
    ]
    return pa.table(columns, schema=IDENTIFIED_SCHEMA)


def _entry(error: RowError) -> dict[str, str]:
    """An entry of the error column; what UTF-8 cannot hold, as a text quoted in a message may have, is escaped."""
    return {name: text.encode(errors="backslashreplace").decode() for name, text in vars(error).items()}


def is_dead(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Mark the rows that have an error."""
    dead: npt.NDArray[np.bool_] = table["error"].is_valid().to_numpy(zero_copy_only=False)
    return dead


def document_shares(table: pa.Table) -> npt.NDArray[np.float64]:
    """Part of a document that each row is: one chunk of four is a quarter. Progress counts documents with it."""
    counts: npt.NDArray[np.int32] = pc.fill_null(table["chunk_count"], 1).to_numpy()
    return np.reciprocal(np.maximum(counts, 1).astype(np.float64))


def set_column(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Replace a column, or append it where there is none of that name."""
    at = table.schema.get_field_index(name)
    return table.append_column(name, column) if at < 0 else table.set_column(at, name, column)


def add_errors(table: pa.Table, errors: dict[int, RowError]) -> pa.Table:
    """Give the rows at the positions of ``errors`` an error; a row that has one keeps its first."""
    if not errors:
        return table
    rows = list(errors)
    first = table["error"].take(pa.array(rows)).to_pylist()
    entries = [there or _entry(error) for there, error in zip(first, errors.values(), strict=True)]
    places = np.arange(table.num_rows)
    places[rows] = table.num_rows + np.arange(len(rows))
    column = pa.chunked_array([*table["error"].chunks, pa.array(entries, type=ERROR_TYPE)])
    return set_column(table, "error", column.take(pa.array(places)))


def spread(column: pa.Array | pa.ChunkedArray, there: npt.NDArray[np.integer], rows: int) -> pa.Array:
    """Put a column's entries at the positions ``there`` of one with so many ``rows``; the others are null."""
    positions = np.full(rows, -1)
    positions[there] = np.arange(len(there))
    return column.take(pa.array(positions, mask=positions < 0))
