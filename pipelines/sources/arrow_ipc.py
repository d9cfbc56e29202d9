"""Arrow IPC files and streams, and Feather, whose second version is an Arrow IPC file.

What a file is shows at its start, whatever its ending: a file has the magic ``ARROW1``, and a footer that knows its
record batches; all else is a stream, which is read from its start (IPC File Format and IPC Streaming Format of
https://arrow.apache.org/docs/format/Columnar.html).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pyarrow as pa
from pyarrow import ipc

from pipelines.config.source import SourceConfig
from pipelines.sources.arrow_rows import batch_part, checked_rows, chosen_columns, is_sound, rows_at_once
from pipelines.sources.base import Format, Outline
from pipelines.sources.files import filesystem_of
from pipelines.sources.parts import COLUMN_ROWS, Part, all_records
from pipelines.sources.records import Record, UnreadableFileError, unreadable
from pipelines.sources.split import SPLIT_BYTES, Split

FILE_MAGIC = b"ARROW1"
FEATHER_1_MAGIC = b"FEA1"
STREAM_BUFFER_BYTES = 1 << 20


class ArrowIpc(Format):
    """Arrow IPC: files, cut at record batches, and streams, which are one split each."""

    name = "arrow"
    endings = (".arrow", ".arrows", ".ipc", ".feather")
    has_columns = True
    mark = "row "

    def outline(self, split: Split) -> Outline:
        """Read the schema, and of a file how many record batches it has."""
        return outline(split)

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Read as ``read_parts`` does."""
        return all_records(self.parts(split, config))

    def parts(self, split: Split, config: SourceConfig) -> Iterator[Part]:
        """Read as ``read_parts`` does."""
        return read_parts(split, self.fields(config).columns)

    def count_rows(self, split: Split) -> int | None:
        """Count the rows in a part of a file."""
        if split.stop is None:
            return None
        with _open(split) as file:
            reader = _counting_reader(file)
            return sum(_rows_in(reader, batch) for batch in range(split.start, split.stop))


def outline(split: Split) -> Outline:
    """Read the schema, and cut a large file at record batches; raises READ_ERRORS."""
    with _open(split) as file:
        if not _has_footer(file):
            return Outline((split,), tuple(ipc.open_stream(_Stream(file)).schema.names))
        reader = ipc.open_file(file)
        return Outline(tuple(_cut(split, reader.num_record_batches)), tuple(reader.schema.names))


def read_parts(split: Split, columns: Collection[str] | None) -> Iterator[Part]:
    """Read the split's record batches, of ``columns`` only unless None.

    In place of a batch of a file that cannot be read is one record with an error. Raises READ_ERRORS where a stream is
    damaged or has no end mark, after the rows before.
    """
    with _open(split) as file:
        if _has_footer(file):
            yield from _file_parts(file, split, columns)
            return
        position = 0
        for batch in _stream_batches(file):
            yield from _batch_parts(batch.select(chosen_columns(batch.schema, columns)), position)
            position += batch.num_rows


def read_stream(split: Split) -> Iterator[pa.RecordBatch]:
    """Read the record batches of a stream, unchecked; raises READ_ERRORS."""
    with _open(split) as file:
        yield from _stream_batches(file)


def _open(split: Split) -> pa.NativeFile:
    return filesystem_of(split.root).open_input_file(split.path)


def _has_footer(file: pa.NativeFile) -> bool:
    magic = file.read(len(FILE_MAGIC))
    file.seek(0)
    if magic.startswith(FEATHER_1_MAGIC):
        raise UnreadableFileError("it is Feather of version 1; write it with version 2, pyarrow.feather's default")
    return bool(magic == FILE_MAGIC)


def _cut(split: Split, batches: int) -> Iterator[Split]:
    # The footer tells the sizes of batches, but pyarrow does not: they are taken to be alike.
    parts = min(batches, -(-split.bytes // SPLIT_BYTES))
    if parts <= 1:
        yield split
        return
    for start, stop in pairwise(batches * part // parts for part in range(parts + 1)):
        share = split.bytes * stop // batches - split.bytes * start // batches
        yield replace(split, bytes=share, start=start, stop=stop, first_row=None if start else 1)


def _file_parts(file: pa.NativeFile, split: Split, columns: Collection[str] | None) -> Iterator[Part]:
    reader = ipc.open_file(file)
    names = chosen_columns(reader.schema, columns)
    if names:
        places = [reader.schema.get_field_index(name) for name in names]
        reader = ipc.open_file(file, options=ipc.IpcReadOptions(included_fields=places))
    position = 0
    for number in range(split.start, reader.num_record_batches if split.stop is None else split.stop):
        try:
            batch = reader.get_batch(number).select(names)
        except (OSError, pa.ArrowException) as error:
            rows = _rows_in(_counting_reader(file), number)
            what = f"record batch {number} of file {split.name} cannot be read"
            record = unreadable(what, error, f"{rows:,} rows in it are missing" if rows else "rows in it are missing")
            yield Part(partial(iter, [record]))
            position += rows
            continue
        yield from _batch_parts(batch, position)
        position += batch.num_rows


def _batch_parts(batch: pa.RecordBatch, position: int) -> Iterator[Part]:
    step = rows_at_once(batch.num_rows, batch.get_total_buffer_size(), COLUMN_ROWS)
    sound = all(map(is_sound, batch.columns))
    for start in range(0, batch.num_rows, step):
        part = batch_part(batch.slice(start, step), position + start, checked_rows)
        yield part if sound else replace(part, columns=None)


def _counting_reader(file: pa.NativeFile) -> ipc.RecordBatchFileReader:
    """Open a file to read no more of it than its narrowest column."""
    kinds = ipc.open_file(file).schema.types
    narrowest = min(range(len(kinds)), key=lambda at: _bits(kinds[at]), default=0)
    return ipc.open_file(file, options=ipc.IpcReadOptions(included_fields=[narrowest]))


def _bits(kind: pa.DataType) -> float:
    try:
        return float(kind.bit_width)
    except ValueError:
        return math.inf


def _rows_in(reader: ipc.RecordBatchFileReader, batch: int) -> int:
    """Count the rows of a record batch; 0 where it cannot be read."""
    try:
        return int(reader.get_batch(batch).num_rows)
    except (OSError, pa.ArrowException):
        return 0


class _Stream:
    """A file's bytes from its start for pyarrow, counted as they are read."""

    closed = False

    def __init__(self, file: pa.NativeFile) -> None:
        self._bytes = pa.BufferedInputStream(file, STREAM_BUFFER_BYTES)
        self.size = file.size()
        self.at = 0

    def read(self, size: int) -> bytes:
        """Read so many bytes; fewer at the end."""
        # No memory is reserved for what a damaged length promises.
        data: bytes = self._bytes.read(min(size, self.size - self.at))
        self.at += len(data)
        return data


def _stream_batches(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a stream, or of several one behind another.

    pyarrow takes a stream that ends between two batches for a whole one. Every writer that is closed writes an end
    mark, so that one without is taken to be cut off.
    """
    stream = _Stream(file)
    while True:
        reader = ipc.open_stream(stream)
        while True:
            before = stream.at
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                break
            yield batch
        if stream.at == before:
            raise UnreadableFileError("the stream has no end mark: it was cut off, or its writer was not closed")
        if stream.at == stream.size:
            return
