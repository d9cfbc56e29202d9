"""How a row is named and recognized: its point id, the hash of its content, and the fingerprint of its vectors."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from embedders.fingerprint import facts_digest
from pipelines.config.chunking import ChunkingConfig
from pipelines.rows import HASHES, IMAGE_COLUMN, is_dead

Buffer: TypeAlias = bytes | pa.Buffer

NAMESPACE = uuid.UUID("6f1c1f5e-3f0e-5b52-9a39-6a2f4c0c5d11")
# Only the form Qdrant gives back: two spellings of one UUID are two documents, and must not meet in one point.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNSIGNED = re.compile(r"0|[1-9][0-9]{0,19}")
_MAX_UNSIGNED = 2**64 - 1


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
    return _content_hash(text, payload, _image_digest(image))


def text_hash(text: str | None, image: Buffer | None = None) -> str:
    """Hash what a row's vectors are made from, its text and image, to 64 bits: compared for one point at a time."""
    return _text_hash(text, _image_digest(image))


def payload_hash(payload: str | None, span: tuple[int | None, int | None] | None = None) -> str:
    """Hash a row's payload, a JSON object with sorted keys, and the span of its chunk, to 64 bits."""
    return str(xxhash.xxh3_64_hexdigest(f"{payload or ''}{span or ''}".encode(errors="surrogatepass")))


def identify(table: pa.Table, corpus: str, *, chunked: bool) -> pa.Table:
    """Add ``id`` and HASHES (of text, payload and image) to rows of CHUNK_SCHEMA; dead rows get nulls."""
    dead = is_dead(table)
    names = zip(table["document_id"].to_pylist(), table["chunk_no"].to_pylist(), dead, strict=True)
    ids = [None if gone else point_id(corpus, name, chunk, chunked=chunked) for name, chunk, gone in names]
    payloads = table["payload"].to_pylist()
    spans: list[Any] = [None] * table.num_rows
    if chunked:
        spans = list(zip(table["chunk_start"].to_pylist(), table["chunk_end"].to_pylist(), strict=True))
    payload_hashes = [None if gone else payload_hash(*part) for gone, *part in zip(dead, payloads, spans, strict=True)]
    if chunked:
        # A chunk that only moved must be written again, and one more or less tells the sink to look for stale ones.
        counts = table["chunk_count"].to_pylist()
        payloads = [f"{payload}{(*span, count)}" for payload, span, count in zip(payloads, spans, counts, strict=True)]
    texts = table["text"].to_pylist()
    digests: list[list[str | None]] = []
    if table[IMAGE_COLUMN].null_count < table.num_rows:
        # Buffers, because to make Python bytes of images would copy them.
        digests = [[_image_digest(image.as_buffer()) for image in table[IMAGE_COLUMN]]]
    hashes = [
        None if gone else _content_hash(*content)
        for gone, *content in zip(dead, texts, payloads, *digests, strict=True)
    ]
    text_hashes = [None if gone else _text_hash(*content) for gone, *content in zip(dead, texts, *digests, strict=True)]
    columns = zip(("id", *HASHES), (ids, hashes, text_hashes, payload_hashes), strict=True)
    return reduce(
        lambda named, column: named.append_column(column[0], pa.array(column[1], pa.string())), columns, table
    )


def _image_digest(image: Buffer | None) -> str | None:
    return None if image is None else str(xxhash.xxh3_128_hexdigest(image))


def _content_hash(text: str | None, payload: str | None, image_digest: str | None = None) -> str:
    content = f"{len(text or '')}:{text or ''}{payload or ''}"
    if image_digest is not None:
        # What is hashed without an image begins with a digit, so that the two kinds never meet.
        content = f"image:{image_digest}:{content}"
    return str(xxhash.xxh3_128_hexdigest(content.encode(errors="surrogatepass")))


def _text_hash(text: str | None, image_digest: str | None = None) -> str:
    hasher = xxhash.xxh3_64((text or "").encode(errors="surrogatepass"))
    if image_digest is not None:
        hasher.update(b"\0image:" + bytes.fromhex(image_digest))
    return str(hasher.hexdigest())


def keys64(ids: Iterable[str], content_hashes: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Hash id and content together to 64 bits: the key by which a sink knows a row that it holds unchanged."""
    digest = xxhash.xxh3_64_intdigest
    keys = (digest(f"{name}\n{content}".encode()) for name, content in zip(ids, content_hashes, strict=True))
    return np.fromiter(keys, dtype=np.uint64)


def fingerprint(embeddings: dict[str, str], chunking: ChunkingConfig | None, tokenizer: str | None = None) -> str:
    """Hex sha256 over what changes a job's vectors: each embedding's own fingerprint, by name, and the chunking.

    ``tokenizer`` is the content of the chunking's tokenizer.json: that counts, and not where the file lies.
    """
    cuts = None
    if chunking is not None:
        digest = hashlib.sha256((tokenizer or "").encode()).hexdigest()
        cuts = {**chunking.model_dump(exclude={"tokenizer"}), "tokenizer": digest}
    return facts_digest({"embeddings": embeddings, "chunking": cuts})
