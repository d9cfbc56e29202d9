"""How a row is named and recognized: its point id, the hash of its content, and the fingerprint of its vectors."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from embedders.fingerprint import facts_digest
from pipelines.config.chunking import ChunkingConfig
from pipelines.rows import IMAGE_COLUMN, is_dead

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
    hashes = [None if gone else content_hash(*content) for gone, *content in zip(dead, *contents, strict=True)]
    named = table.append_column("id", pa.array(ids, pa.string()))
    return named.append_column("content_hash", pa.array(hashes, pa.string()))


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
