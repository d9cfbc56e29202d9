"""How a row is named and recognized: its point id, and the hashes of its content."""

from __future__ import annotations

import re
import uuid
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipelines.hashing import Column, join, uuid5_strings, xxh3_64, xxh3_64_hex, xxh3_128_hex
from pipelines.rows import HASHES, IMAGE_COLUMN, is_dead

Buffer: TypeAlias = bytes | pa.Buffer

NAMESPACE = uuid.UUID("6f1c1f5e-3f0e-5b52-9a39-6a2f4c0c5d11")
# Only the form Qdrant gives back: two spellings of one UUID are two documents, and must not meet in one point.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UUID_BYTES = 36
_UNSIGNED = re.compile(r"0|[1-9][0-9]{0,19}")
_MAX_UNSIGNED = 2**64 - 1
# The same for whole columns; integers of 20 digits are to be looked at one by one.
_OWN_ID = rf"^(?:{_UUID.pattern}|{_UNSIGNED.pattern})$"
_LONG_UNSIGNED = "^[1-9][0-9]{19}$"
_LARGE = partial(pa.scalar, type=pa.large_string())


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
        content = f"image:{_image_digest(image)}:{content}"
    return str(xxhash.xxh3_128_hexdigest(content.encode(errors="surrogatepass")))


def text_hash(text: str | None, image: Buffer | None = None) -> str:
    """Hash what a row's vectors are made from, its text and image, to 64 bits: compared for one point at a time."""
    hasher = xxhash.xxh3_64((text or "").encode(errors="surrogatepass"))
    if image is not None:
        hasher.update(b"\0image:" + xxhash.xxh3_128_digest(image))
    return str(hasher.hexdigest())


def payload_hash(payload: str | None, span: tuple[int | None, int | None] | None = None) -> str:
    """Hash a row's payload, a JSON object with sorted keys, and the span of its chunk, to 64 bits."""
    return str(xxhash.xxh3_64_hexdigest(f"{payload or ''}{span or ''}".encode(errors="surrogatepass")))


def identify(table: pa.Table, corpus: str, *, chunked: bool) -> pa.Table:
    """Add ``id`` and HASHES (of text, payload and image) to rows of CHUNK_SCHEMA; dead rows get nulls.

    They are what ``point_id``, ``content_hash``, ``text_hash`` and ``payload_hash`` give for single rows.
    """
    table = table.combine_chunks()
    payloads = pc.fill_null(table["payload"], "")
    texts = pc.fill_null(table["text"], "")
    described = hashed = payloads
    if chunked:
        span = [_LARGE("("), _as_text(table["chunk_start"]), _LARGE(", "), _as_text(table["chunk_end"])]
        hashed = join(payloads, *span, _LARGE(")"))
        # A chunk that only moved must be written again, and one more or less tells the sink to look for stale ones.
        count = [_LARGE(", "), _as_text(table["chunk_count"]), _LARGE(")")]
        described = join(pc.fill_null(table["payload"], "None"), *span, *count)
    content = [_as_text(pc.utf8_length(texts)), _LARGE(":"), texts, described]
    seen = texts
    if table[IMAGE_COLUMN].null_count < table.num_rows:
        digests = _image_digests(table[IMAGE_COLUMN])
        # What is hashed without an image begins with a digit, so that the two kinds never meet.
        content = [pc.fill_null(join(_LARGE("image:"), digests, _LARGE(":")), ""), *content]
        seen = _with_images(texts, digests)
    ids = _point_ids(table["document_id"], table["chunk_no"], corpus, chunked=chunked)
    columns = (ids, xxh3_128_hex(join(*content)), xxh3_64_hex(seen), xxh3_64_hex(hashed))
    dead = is_dead(table)
    for name, column in zip(("id", *HASHES), columns, strict=True):
        column = pc.if_else(pa.array(dead), None, column) if dead.any() else column
        table = table.append_column(name, column)
    return table


def _point_ids(names: pa.ChunkedArray, chunks: pa.ChunkedArray, corpus: str, *, chunked: bool) -> pa.ChunkedArray:
    """Name points as ``point_id`` does; any name for a row without a document id."""
    names = pc.fill_null(names, "")
    kept = None if chunked else _are_point_ids(names)
    if kept is not None and pc.all(kept).as_py():
        return names
    if set(chunks.unique().to_pylist()) == {0}:
        made = uuid5_strings(NAMESPACE.bytes, f"{corpus}/", names, "/0")
    else:
        made = uuid5_strings(NAMESPACE.bytes, f"{corpus}/", names, "/", pc.fill_null(pc.cast(chunks, pa.string()), ""))
    return made if kept is None else pc.if_else(kept, names, made)


def _are_point_ids(names: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Tell which document ids are point ids; None where none is."""
    # Most names are told apart by their lengths and digits alone, which is faster than by the expression.
    if not pc.any(pc.or_(pc.equal(pc.binary_length(names), _UUID_BYTES), pc.ascii_is_decimal(names))).as_py():
        return None
    kept = pc.match_substring_regex(names, _OWN_ID)
    if not pc.any(kept).as_py():
        return None
    long = pc.match_substring_regex(names, _LONG_UNSIGNED)
    if pc.any(long).as_py():
        fits = (
            not is_long or int(name.as_py()) <= _MAX_UNSIGNED
            for name, is_long in zip(names, long.to_pylist(), strict=True)
        )
        kept = pc.and_(kept, pa.array(fits))
    return kept


def _as_text(column: Column) -> Column:
    """Write entries as Python's ``str`` does, null as None."""
    return pc.fill_null(column.cast(pa.large_string()), "None")


def _image_digests(images: pa.ChunkedArray) -> pa.Array:
    # Buffers, because to make Python bytes of images would copy them.
    return pa.array([_image_digest(image.as_buffer()) for image in images], pa.large_string())


def _with_images(texts: pa.ChunkedArray, digests: pa.Array) -> pa.ChunkedArray:
    marks = [None if digest is None else b"\0image:" + bytes.fromhex(digest) for digest in digests.to_pylist()]
    return join(texts.cast(pa.large_binary()), pc.fill_null(pa.array(marks, pa.large_binary()), b""))


def _image_digest(image: Buffer | None) -> str | None:
    return None if image is None else str(xxhash.xxh3_128_hexdigest(image))


def keys64(ids: Column, content_hashes: Column) -> npt.NDArray[np.uint64]:
    """Hash id and content together to 64 bits: the key by which a sink knows a row that it holds unchanged."""
    return xxh3_64(join(_as_text(ids), _LARGE("\n"), _as_text(content_hashes)))
