"""The files of a Parquet sink: their columns, metadata and names, and hashes of their rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from pyarrow import fs

from pipelines.hashing import Column, entries, join, xxh3_64
from pipelines.identity import keys64
from pipelines.sinks.base import JobFacts
from pipelines.sinks.parquet.payload import KEY, PayloadColumn, columns_of
from pipelines.sinks.provenance import provenance_of

METADATA_KEY = b"fleetembed"
Keys = npt.NDArray[np.uint64]
# Files that are read at once.
READERS = 8
T = TypeVar("T")
R = TypeVar("R")


# Columns that files of older versions lack.
NEW_COLUMNS = ("text_hash", "payload_hash")


def file_schema(
    job: JobFacts, *, store_text: bool, new_columns: bool = True, payload: Sequence[PayloadColumn] | None = None
) -> pa.Schema:
    """Columns of a file; ``chunk_count``, the chunks of the row's document, only with chunking.

    ``payload`` are the columns that payloads are put into, beside the one for the rest.

    A folder whose files lack the NEW_COLUMNS gets no file with them: readers want one schema in all files.
    """
    fields = [("id", pa.string()), ("document_id", pa.string())]
    fields += [("chunk_no", pa.int32()), ("chunk_start", pa.int64()), ("chunk_end", pa.int64())]
    if job.chunked:
        fields.append(("chunk_count", pa.int32()))
    if store_text:
        fields.append(("text", pa.string()))
    fields += [(column.name, column.type) for column in payload or ()]
    fields += [("payload", pa.string()), ("content_hash", pa.string())]
    if new_columns:
        fields += [(name, pa.string()) for name in NEW_COLUMNS]
    fields += [(name, spec.arrow_type) for name, spec in job.vectors.items()]
    return pa.schema(fields)


def file_name(generation: int, keys: Keys) -> str:
    """Name a file after its rows, so that a write repeated within a run replaces the first."""
    return f"part-{generation:05d}-{xxhash.xxh3_128_hexdigest(np.sort(keys).tobytes())}.parquet"


def is_part_name(name: str) -> bool:
    """Tell whether a file is called as this sink calls its own."""
    return re.fullmatch(r"part-[0-9]{5,}-[0-9a-f]{32}\.parquet", name) is not None


def encode(
    table: pa.Table, job: JobFacts, generation: int, level: int, payload: Sequence[PayloadColumn] | None = None
) -> pa.Buffer:
    """Make a whole Parquet file of rows that have ``file_schema``."""
    provenance = {**provenance_of(job), "generation": generation}
    if payload is not None:
        provenance[KEY] = [column.facts for column in payload]
    return encode_with(table, json.dumps(provenance, sort_keys=True).encode(), level)


def encode_with(table: pa.Table, provenance: bytes, level: int) -> pa.Buffer:
    """Make a whole Parquet file whose metadata holds ``provenance`` as it is."""
    plain = [field.name for field in table.schema if field.type in (pa.string(), pa.int32())]
    stream = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata({METADATA_KEY: provenance}),
        stream,
        compression="zstd",
        compression_level=level,
        use_dictionary=plain,
    )
    return stream.getvalue()


@dataclass(frozen=True)
class FileDescription:
    """What a file says of itself: what made its vectors, with its ``generation``; its columns and number of rows.

    ``provenance`` (see ``provenance_of``) is None for a file of another tool.
    """

    provenance: dict[str, Any] | None
    schema: pa.Schema
    rows: int

    @property
    def payload(self) -> tuple[PayloadColumn, ...] | None:
        """The columns that payloads are in; None where they are JSON alone."""
        return columns_of(self.provenance or {}, self.schema)

    @property
    def has_new_columns(self) -> bool:
        """Whether it has all NEW_COLUMNS."""
        return set(NEW_COLUMNS) <= set(self.schema.names)


def describe_file(filesystem: fs.FileSystem, path: str) -> FileDescription:
    """Read a file's metadata."""
    with filesystem.open_input_file(path) as source:
        file = pq.ParquetFile(source)
        raw = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
        return FileDescription(json.loads(raw) if raw else None, file.schema_arrow, file.metadata.num_rows)


@dataclass(frozen=True)
class FileRows:
    """One file's rows as 64-bit hashes: a few bytes a row, whatever the ids' length.

    ``keys`` are of id and content, ``texts`` of id and text hash, or the ``keys`` where the file has none. ``hashes``
    are the text hashes by themselves, where they are asked for and the file has them, else empty. All three are empty
    where only the current rows are to be found. ``documents`` and the columns after it are empty where nothing is
    chunked.
    """

    name: str
    generation: int
    ids: Keys
    keys: Keys
    texts: Keys
    hashes: Keys
    documents: Keys
    chunk_no: npt.NDArray[np.int32]
    chunk_count: npt.NDArray[np.int32]


def read_rows(
    filesystem: fs.FileSystem,
    path: str,
    description: FileDescription,
    *,
    contents: bool = True,
    text_hashes: bool = False,
) -> FileRows:
    """Read the columns that say which rows a file of this sink has, with ``text_hashes`` those, too.

    Without ``contents`` it is read which of them are current.
    """
    provenance = description.provenance or {}
    text_hash = "text_hash" if description.has_new_columns else "content_hash"
    names = list(dict.fromkeys(["id", "content_hash", text_hash])) if contents else ["id"]
    if provenance["chunked"]:
        names += ["document_id", "chunk_no", "chunk_count"]
    # Opened once, and its columns fetched together: each request to a store takes a while.
    with filesystem.open_input_file(path) as source:
        table = pq.ParquetFile(source, pre_buffer=True).read(names)
    empty = pa.chunked_array([], pa.string())
    ids, hashes = table["id"], table["content_hash"] if contents else empty
    documents = table["document_id"].cast(pa.string()) if provenance["chunked"] else empty
    # Nothing is known of a text whose hash is null; a content's hash is no text's.
    texts = pc.coalesce(table[text_hash], hashes) if contents else empty
    return FileRows(
        name=path.rpartition("/")[2],
        generation=provenance["generation"],
        ids=xxh3_64(ids),
        keys=keys64(ids, hashes) if contents else np.empty(0, np.uint64),
        texts=keys64(ids, texts) if contents else np.empty(0, np.uint64),
        hashes=text_keys(texts if text_hashes and description.has_new_columns else empty),
        documents=xxh3_64(join(pa.scalar(f"{provenance['corpus']}\n"), documents)),
        chunk_no=table["chunk_no"].to_numpy() if provenance["chunked"] else np.empty(0, np.int32),
        chunk_count=table["chunk_count"].to_numpy() if provenance["chunked"] else np.empty(0, np.int32),
    )


def read_vectors(filesystem: fs.FileSystem, path: str, names: Sequence[str], rows: Sequence[int]) -> pa.Table:
    """Read the vectors of some rows of a file: a column a name, a row for each of ``rows``, in their order."""
    with filesystem.open_input_file(path) as source:
        table = pq.ParquetFile(source, pre_buffer=True).read(list(names))
    return table.select(names).replace_schema_metadata(None).take(pa.array(rows, pa.int64()))


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do work on items, READERS at once; returns the results in the items' order."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(work, items))


def text_keys(hashes: Column) -> Keys:
    """Read text hashes as the numbers that they are; of longer ones, as a content has, the first 64 bits."""
    digits = b"".join(entries(pc.utf8_slice_codeunits(hashes, 0, 16)))
    return np.frombuffer(bytes.fromhex(digits.decode()), ">u8").astype(np.uint64)
