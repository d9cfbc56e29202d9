"""Puts small files of a cache of embeddings together, so that it opens as fast after many runs as after one.

A group is consecutive files of one level, by name: GROUP of them, or as many as MOST_BYTES hold. It becomes one file of
the next level, whose name says what it is made of, so that two who do this at once write the same file. Only when that
is there whole are its parts deleted: whoever is killed before leaves rows twice, which does no harm, and the next one
deletes them. Whoever still reads the parts looks their rows up again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pyarrow import fs

from pipelines.filesystem import write_file

logger = logging.getLogger("fleetembed")

KEY = "key"
ENDING = ".parquet"
# Files that become one, and the bytes of which one is made at the most, since they are in memory together.
GROUP = 32
MOST_BYTES = 64 << 20
# Rows that are read together.
ROW_GROUP = 1024
LOCK = ".compacting.lock"


def compact(filesystem: fs.FileSystem, folder: str, schema: pa.Schema) -> int:
    """Put the folder's small files of a schema together; returns how many files went into others.

    Nothing is done where another process of this machine is at it, and nothing raised: what fails, fails for the cache
    as it was.
    """
    try:
        files = _files(filesystem, folder)
        if not any(True for _ in _groups(files)):
            return 0
        with _alone(filesystem, folder) as alone:
            return _compact(filesystem, folder, schema) if alone else 0
    except (OSError, pa.ArrowException) as error:
        logger.warning("the cache of embeddings cannot be put together: %s", error)
        return 0


def _compact(filesystem: fs.FileSystem, folder: str, schema: pa.Schema) -> int:
    gone = 0
    # A level's files may complete a group of the next one.
    while groups := list(_groups(_files(filesystem, folder))):
        before = gone
        for group in groups:
            gone += _put_together(filesystem, folder, schema, group)
        if gone == before:
            break
    return gone


def write_table(filesystem: fs.FileSystem, path: str, table: pa.Table) -> None:
    """Write a file of the cache, whole."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, row_group_size=ROW_GROUP, compression="zstd", use_dictionary=False, write_page_checksum=True
    )
    write_file(filesystem, path, sink.getvalue())


def _files(filesystem: fs.FileSystem, folder: str) -> list[fs.FileInfo]:
    selector = fs.FileSelector(folder, allow_not_found=True)
    files = [info for info in filesystem.get_file_info(selector) if info.type == fs.FileType.File]
    return sorted((info for info in files if info.base_name.endswith(ENDING)), key=lambda info: info.base_name)


def _level(name: str) -> int:
    """How many times a file's rows were put together: TIME-UUID.parquet never, TIME-HASH.LEVEL.parquet LEVEL times."""
    level = name.removesuffix(ENDING).rpartition(".")[2]
    return int(level) if level.isdecimal() and "." in name.removesuffix(ENDING) else 0


def _groups(files: Iterable[fs.FileInfo]) -> Iterator[list[fs.FileInfo]]:
    """Files that are to become one each."""
    levels: dict[int, list[fs.FileInfo]] = {}
    for info in files:
        group = levels.setdefault(_level(info.base_name), [])
        if group and sum(one.size for one in group) + info.size > MOST_BYTES:
            if len(group) > 1:
                yield list(group)
            group.clear()
        group.append(info)
        if len(group) == GROUP:
            yield list(group)
            group.clear()


def _put_together(filesystem: fs.FileSystem, folder: str, schema: pa.Schema, group: Sequence[fs.FileInfo]) -> int:
    names = [info.base_name for info in group]
    parts = {name: table for name in names if (table := _read(filesystem, f"{folder}/{name}", schema)) is not None}
    if len(parts) < 2:
        return 0
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]
    path = f"{folder}/{names[0].partition('-')[0]}-{digest}.{_level(names[0]) + 1}{ENDING}"
    made = _read(filesystem, path, schema)
    if made is None:
        made = pa.concat_tables(parts.values())
        _, first = np.unique(whole_keys(made[KEY]), return_index=True)
        made = made.take(pa.array(np.sort(first)))
        write_table(filesystem, path, made)
    # Of one that was killed, the file may lack a part that could not be read then.
    kept = whole_keys(made[KEY])
    there = [name for name, table in parts.items() if np.isin(whole_keys(table[KEY]), kept).all()]
    for name in there:
        # Another one may have been faster.
        with suppress(FileNotFoundError):
            filesystem.delete_file(f"{folder}/{name}")
    return len(there)


def whole_keys(keys: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.void]:
    """Keys as NumPy's opaque 16 bytes, (rows,)."""
    if isinstance(keys, pa.ChunkedArray):
        keys = keys.combine_chunks()
    data = keys.buffers()[1]
    return np.frombuffer(data, "V16", count=len(keys), offset=16 * keys.offset)


def _read(filesystem: fs.FileSystem, path: str, schema: pa.Schema) -> pa.Table | None:
    """A file's rows; None where it is not there, is damaged, or of another fingerprint: it is left to who opens it."""
    try:
        with filesystem.open_input_file(path) as source:
            table = pq.ParquetFile(source, page_checksum_verification=True).read()
        same = table.schema.metadata == schema.metadata and table.schema.equals(schema)
        return table.cast(schema) if same else None
    except (OSError, pa.ArrowException):
        return None


@contextmanager
def _alone(filesystem: fs.FileSystem, folder: str) -> Iterator[bool]:
    """Whether no other process of this machine puts the folder's files together; unknown in object stores."""
    if not isinstance(filesystem, fs.LocalFileSystem):
        yield True
        return
    lock = FileLock(f"{folder}/{LOCK}")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
