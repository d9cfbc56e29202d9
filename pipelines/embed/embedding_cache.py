"""Vectors that were made before, by fingerprint and content, in a folder of Parquet files: see docs/embedding_cache.md.

A folder has a folder for each fingerprint, with files that are written whole, under names of their own, and never
changed. A file has a column ``key``, the 128-bit hash of what a model was given, and a column a vector. In memory are
64 bits of each key and its place, 16 bytes a row; of the vectors only the files that are asked for.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from pyarrow import fs

from embedders.base import VectorSpec
from embedders.fingerprint import facts_digest
from pipelines.embed.cache_compaction import ENDING, KEY, compact, whole_keys, write_table
from pipelines.errors import ConfigError
from pipelines.filesystem import open_filesystem
from pipelines.urls import without_credentials

logger = logging.getLogger("fleetembed")

KEY_TYPE = pa.binary(16)
FINGERPRINT = b"fleetembed.fingerprint"
_ROW_BITS = 32
# Files that come together in one sorted index; those that came since the last time are looked through one by one.
MOST_FRESH = 64

Keys = npt.NDArray[np.uint64]


def content_keys(contents: pa.Array) -> pa.Array:
    """Hash texts or images, none of them null, to 128 bits each: a column of KEY_TYPE."""
    kind = pa.large_binary() if pa.types.is_large_string(contents.type) else pa.binary()
    binary = contents if pa.types.is_large_binary(contents.type) else contents.cast(kind)
    digest = xxhash.xxh3_128_digest
    return pa.array([digest(item.as_buffer()) for item in binary], KEY_TYPE)


class EmbeddingCache:
    """Vectors of one embedding, by content.

    ``place`` is the folder or URL of all embeddings' vectors. ``fingerprint`` covers all that changes a vector, and
    ``vectors`` are those that are kept of each row. A file that cannot be read is passed over, with a warning. Raises
    ConfigError where the place is a file or cannot be listed.
    """

    def __init__(self, place: str, fingerprint: str, vectors: Mapping[str, VectorSpec]) -> None:
        self._names = tuple(vectors)
        types = [spec.arrow_type for spec in vectors.values()]
        # A vector has another name in each job. What an embedding gives is not in its fingerprint.
        self._schema = pa.schema(
            [(KEY, KEY_TYPE), *((f"vector_{number}", kind) for number, kind in enumerate(types))],
            metadata={FINGERPRINT: fingerprint.encode()},
        )
        self._filesystem, root = open_filesystem(place)
        name = facts_digest([fingerprint, [str(kind) for kind in types]])[:32]
        self._folder = f"{root.rstrip('/')}/{name}"
        self._files: list[str] = []
        self._seen: set[str] = set()
        self._gone: set[str] = set()
        self._index = _Index()
        if self._filesystem.get_file_info(root).type == fs.FileType.File:
            raise ConfigError(f"cache.path {without_credentials(place)} is a file, not a folder")
        compact(self._filesystem, self._folder, self._schema)
        try:
            self.refresh()
        except OSError as error:
            raise ConfigError(f"cache.path {without_credentials(place)} cannot be listed: {error}") from None

    def refresh(self) -> None:
        """Take in the files that others have written since."""
        for name in sorted(self._listed() - self._seen):
            self._seen.add(name)
            try:
                with self._opened(name) as file:
                    if file.schema_arrow.metadata.get(FINGERPRINT) != self._schema.metadata[FINGERPRINT]:
                        raise pa.ArrowInvalid("it is of another fingerprint")
                    keys = file.read([KEY])[KEY].combine_chunks()
            except FileNotFoundError:
                # Put together with others meanwhile.
                continue
            except (OSError, pa.ArrowException, AttributeError) as error:
                self._pass_over(name, error)
                continue
            self._add(name, keys)

    def find(self, keys: pa.Array) -> tuple[npt.NDArray[np.int64], pa.Table]:
        """Look contents up by their keys; returns the positions of those that are there, and their vectors.

        The positions ascend, and the table has a column a vector, by the names of this job, a row a position.
        """
        tables, found = [self._schema.empty_table()], [np.empty(0, np.int64)]
        rest, gone = np.arange(len(keys)), len(self._gone)
        for table, rows in self._found(keys, rest):
            tables.append(table)
            found.append(rows)
        if len(self._gone) > gone:
            # Another one has put files together: their rows are in others now.
            self.refresh()
            rest = np.setdiff1d(rest, np.concatenate(found))
            for table, rows in self._found(keys, rest):
                tables.append(table)
                found.append(rows)
        positions = np.concatenate(found)
        order = np.argsort(positions)
        vectors = pa.concat_tables(tables).take(pa.array(order)).drop_columns([KEY])
        return positions[order], vectors.rename_columns(list(self._names))

    def _found(self, keys: pa.Array, rest: npt.NDArray[np.int64]) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
        """Rows of each file for some positions among the keys, and these positions."""
        places = self._index.find(_short(keys.take(pa.array(rest))))
        asked = np.flatnonzero(places >= 0)
        for number in np.unique(places[asked] >> _ROW_BITS):
            some = asked[places[asked] >> _ROW_BITS == number]
            table = self._read(self._files[number], places[some] & ((1 << _ROW_BITS) - 1))
            if table is None:
                continue
            rows = rest[some]
            # The index knows half of a key.
            same = whole_keys(table[KEY]) == whole_keys(keys.take(pa.array(rows)))
            yield table.filter(pa.array(same)), rows[same]

    def add(self, keys: pa.Array, vectors: pa.Table) -> None:
        """Keep vectors by the keys of what they were made of, of equal ones the first.

        A failure to write costs the rows of this call in the cache, with a warning, and nothing else.
        """
        _, first = np.unique(_short(keys), return_index=True)
        first.sort()
        kept = vectors.select(self._names).take(pa.array(first))
        columns = [column.combine_chunks() for column in kept.columns]
        keys = keys.take(pa.array(first))
        table = pa.Table.from_arrays([keys, *columns], schema=self._schema)
        name = f"{time.time_ns():016x}-{uuid.uuid4().hex}{ENDING}"
        try:
            write_table(self._filesystem, f"{self._folder}/{name}", table)
        except OSError as error:
            logger.warning("the cache of embeddings cannot be written: %s", error)
            return
        self._seen.add(name)
        self._add(name, keys)

    def _add(self, name: str, keys: pa.Array) -> None:
        self._index.add(len(self._files), _short(keys))
        self._files.append(name)

    def _read(self, name: str, rows: npt.NDArray[np.int64]) -> pa.Table | None:
        try:
            with self._opened(name) as file:
                ends = np.cumsum([file.metadata.row_group(part).num_rows for part in range(file.num_row_groups)])
                parts = np.searchsorted(ends, rows, side="right")
                wanted = np.unique(parts)
                starts = np.append(0, ends)[wanted]
                table = file.read_row_groups(wanted.tolist()).cast(self._schema)
                # Where each part begins among those that are read.
                offsets = np.append(0, np.cumsum(ends[wanted] - starts))[:-1] - starts
                return table.take(pa.array(rows + offsets[np.searchsorted(wanted, parts)]))
        except (OSError, pa.ArrowException, ValueError, IndexError) as error:
            if isinstance(error, FileNotFoundError):
                self._gone.add(name)
            else:
                self._pass_over(name, error)
            self._index.forget(self._files.index(name))
            return None

    def _opened(self, name: str) -> pq.ParquetFile:
        source = self._filesystem.open_input_file(f"{self._folder}/{name}")
        try:
            return pq.ParquetFile(source, page_checksum_verification=True)
        except BaseException:
            source.close()
            raise

    def _listed(self) -> set[str]:
        selector = fs.FileSelector(self._folder, allow_not_found=True)
        files = (info for info in self._filesystem.get_file_info(selector) if info.type == fs.FileType.File)
        return {info.base_name for info in files if info.base_name.endswith(ENDING)}

    def _pass_over(self, name: str, error: Exception) -> None:
        where = PurePosixPath(self._folder, name)
        logger.warning("the cache of embeddings has a damaged file, which is passed over: %s: %s", where, error)


class _Index:
    """Where contents are: short keys and places (number of the file, shifted by 32 bits, and row), sorted by key.

    What came last is kept in small sorted parts, which are put together now and then.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Keys, npt.NDArray[np.int64]]] = []

    def add(self, number: int, keys: Keys) -> None:
        """Add the keys of a file's rows."""
        order = np.argsort(keys, kind="stable")
        self._parts.append((keys[order], (np.int64(number) << _ROW_BITS) | order))
        if len(self._parts) > MOST_FRESH:
            every, places = (np.concatenate(column) for column in zip(*self._parts, strict=True))
            order = np.argsort(every, kind="stable")
            self._parts = [(every[order], places[order])]

    def forget(self, number: int) -> None:
        """Find nothing in a file any more."""
        stay = [places >> _ROW_BITS != number for _, places in self._parts]
        self._parts = [(keys[kept], places[kept]) for (keys, places), kept in zip(self._parts, stay, strict=True)]

    def find(self, keys: Keys) -> npt.NDArray[np.int64]:
        """Place of each key, or -1."""
        places = np.full(len(keys), -1, np.int64)
        for some, there in self._parts:
            if not len(some):
                continue
            at = np.minimum(np.searchsorted(some, keys), len(some) - 1)
            hit = (some[at] == keys) & (places < 0)
            places[hit] = there[at[hit]]
        return places


def _short(keys: pa.Array) -> Keys:
    """First 64 bits of each key, (rows,)."""
    halves: Keys = np.ascontiguousarray(whole_keys(keys)).view(np.uint64)
    first: Keys = halves[::2].copy()
    return first
