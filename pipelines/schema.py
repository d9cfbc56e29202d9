"""Columns of a row on its way from source to sink, and how a row is named.

Vector columns come ready-made from the embedders; every other column is built here.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

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

# `id` is the point id: a UUID, or an unsigned integer in decimal.
IDENTIFIED_SCHEMA = pa.schema([*CHUNK_SCHEMA, ("id", pa.string()), ("content_hash", pa.string())])

Buffer: TypeAlias = bytes | pa.Buffer

NAMESPACE = uuid.UUID("6f1c1f5e-3f0e-5b52-9a39-6a2f4c0c5d11")
# Only the form Qdrant gives back: two spellings of one UUID are two documents, and must not meet in one point.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNSIGNED = re.compile(r"0|[1-9][0-9]{0,19}")
_MAX_UNSIGNED = 2**64 - 1


@dataclass(frozen=True)
class RowError:
    """Why one row is dead."""

    stage: str
    type: str
    message: str

    @classmethod
    def of(cls, stage: str, exception: BaseException) -> RowError:
        """Make one from an exception; its message is cut so that a text quoted in it cannot fill the report."""
        return cls(stage, type(exception).__name__, str(exception)[:500] or repr(exception)[:500])


def error_array(errors: Sequence[RowError | None]) -> pa.Array:
    """Build the error column: null where all went well."""
    rows = [None if error is None else vars(error) for error in errors]
    return pa.array(rows, type=ERROR_TYPE)


def is_dead(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Mark the rows that have an error."""
    dead: npt.NDArray[np.bool_] = table["error"].is_valid().to_numpy(zero_copy_only=False)
    return dead


def set_column(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Replace a column, or append it where there is none of that name."""
    at = table.schema.get_field_index(name)
    return table.append_column(name, column) if at < 0 else table.set_column(at, name, column)


def add_errors(table: pa.Table, errors: dict[int, RowError]) -> pa.Table:
    """Give the rows at the positions of ``errors`` an error; a row that has one keeps its first."""
    if not errors:
        return table
    column = table["error"].to_pylist()
    for row, error in errors.items():
        column[row] = column[row] or vars(error)
    return set_column(table, "error", pa.array(column, type=ERROR_TYPE))


def point_id(corpus: str, document_id: str, chunk_no: int, *, chunked: bool) -> str:
    """Name a point: UUIDv5 of corpus, document and chunk, so that writing it twice changes nothing.

    A document id that is a UUID (36 characters, lower case) or an unsigned 64-bit integer is the point id itself when
    nothing is chunked.
    """
    if not chunked:
        if _UNSIGNED.fullmatch(document_id) and int(document_id) <= _MAX_UNSIGNED:
            return document_id
        if _UUID.fullmatch(document_id):
            return document_id
    return str(uuid.uuid5(NAMESPACE, f"{corpus}/{document_id}/{chunk_no}"))


def content_hash(text: str | None, payload: str | None, image: Buffer | None = None) -> str:
    """Hash what a point is made from: a row whose hash is unchanged is not embedded again."""
    content = f"{len(text or '')}:{text or ''}{payload or ''}"
    if image is not None:
        # What is hashed without an image begins with a digit, so that the two kinds never meet.
        content = f"image:{xxhash.xxh3_128_hexdigest(image)}:{content}"
    digest: str = xxhash.xxh3_128_hexdigest(content.encode(errors="surrogatepass"))
    return digest


def identify(table: pa.Table, corpus: str, *, chunked: bool) -> pa.Table:
    """Add ``id`` and ``content_hash`` (of text, payload and image) to rows of CHUNK_SCHEMA; dead rows get nulls."""
    dead = is_dead(table)
    names = zip(table["document_id"].to_pylist(), table["chunk_no"].to_pylist(), dead, strict=True)
    ids = [None if gone else point_id(corpus, name, chunk, chunked=chunked) for name, chunk, gone in names]
    payloads = table["payload"].to_pylist()
    if chunked:
        # A chunk that only moved must be written again, and one more or less tells the sink to look for stale ones.
        spans = zip(*(table[name].to_pylist() for name in ("chunk_start", "chunk_end", "chunk_count")), strict=True)
        payloads = [f"{payload}{span}" for payload, span in zip(payloads, spans, strict=True)]
    contents: list[list[Any]] = [table["text"].to_pylist(), payloads]
    if table[IMAGE_COLUMN].null_count < table.num_rows:
        # Buffers, because to make Python bytes of images would copy them.
        contents.append([image.as_buffer() for image in table[IMAGE_COLUMN]])
    hashes = list(map(content_hash, *contents))
    hash_column = pc.if_else(pa.array(dead), pa.scalar(None, pa.string()), pa.array(hashes, pa.string()))
    return table.append_column("id", pa.array(ids, pa.string())).append_column("content_hash", hash_column)


def keys64(ids: Iterable[str], content_hashes: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Hash id and content together to 64 bits: the key by which a sink knows a row that it holds unchanged."""
    digest = xxhash.xxh3_64_intdigest
    keys = (digest(f"{name}\n{content}".encode()) for name, content in zip(ids, content_hashes, strict=True))
    return np.fromiter(keys, dtype=np.uint64)
