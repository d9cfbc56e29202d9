"""Parquet files."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from more_itertools import constrained_batches

from pipelines.config.source import SourceConfig
from pipelines.sources.arrow_rows import BATCH_BYTES, BATCH_ROWS, batch_part, chosen_columns, python_rows, rows_at_once
from pipelines.sources.base import Fields, Format, Outline
from pipelines.sources.column_rows import document_ids
from pipelines.sources.files import filesystem_of
from pipelines.sources.parts import COLUMN_ROWS, Part, all_records
from pipelines.sources.records import READ_ERRORS, Record, unreadable
from pipelines.sources.split import SPLIT_BYTES, Split

READ_BUFFER_BYTES = 1 << 20


class Parquet(Format):
    """Parquet, cut at row groups; one that cannot be read costs no other."""

    name = "parquet"
    endings = (".parquet", ".pq")
    has_columns = True
    mark = "row "

    def outline(self, split: Split) -> Outline:
        """Read the footer: columns, and rows and bytes (uncompressed) of the row groups."""
        with _open(split) as file:
            groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
            sizes = [(group.num_rows, group.total_byte_size) for group in groups]
            return Outline(tuple(_cut(split, sizes)) or (split,), tuple(file.schema_arrow.names))

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Read the split's row groups; in place of one that cannot be read is one record with an error."""
        return all_records(self.parts(split, config))

    def parts(self, split: Split, config: SourceConfig) -> Iterator[Part]:
        """Read batches of the row groups' rows."""
        return _parts(split, self.fields(config).columns)

    def ids(self, split: Split, config: SourceConfig) -> pa.ChunkedArray | None:
        """Read the column of ids alone, where the footer tells that no other can make a row dead."""
        name = self.fields(config).id
        found = [pa.array([], pa.string())]
        if name is None or self.needs_payload(split, config):
            return None
        try:
            for part in _parts(split, {name}):
                columns = None if part.columns is None else part.columns()
                names = None if columns is None else document_ids(columns, name)
                if names is None or names.null_count:
                    return None
                found.append(names)
        except READ_ERRORS:
            return None
        return pa.chunked_array(found).slice(0, split.max_rows)

    def needs_payload(self, split: Split, config: SourceConfig) -> bool:
        """Tell by the footer; see Format."""
        fields = self.fields(config)
        try:
            return fields.id is None or fields.deleted is not None or not _ids_alone_decide(split, fields, fields.id)
        except READ_ERRORS:
            return True


def _cut(split: Split, sizes: Sequence[tuple[int, int]]) -> Iterator[Split]:
    all_bytes = sum(size for _, size in sizes) or 1
    start, first = 0, 1
    for groups in constrained_batches(sizes, SPLIT_BYTES, get_len=lambda group: group[1], strict=False):
        rows, size = (sum(column) for column in zip(*groups, strict=True))
        stop, share = start + len(groups), split.bytes * size // all_bytes
        yield replace(split, bytes=share, start=start, stop=stop, first_row=first, rows=rows)
        start, first = stop, first + rows


@contextmanager
def _open(split: Split) -> Iterator[pq.ParquetFile]:
    with filesystem_of(split.root).open_input_file(split.path) as source:
        # With a buffer, a column chunk is streamed instead of fetched whole.
        yield pq.ParquetFile(source, buffer_size=READ_BUFFER_BYTES)


def _parts(split: Split, columns: Collection[str] | None) -> Iterator[Part]:
    with _open(split) as file:
        names = chosen_columns(file.schema_arrow, columns)
        position = 0
        for group in range(split.start, file.num_row_groups if split.stop is None else split.stop):
            rows = file.metadata.row_group(group).num_rows
            done = 0
            try:
                for batch in _gathered(_batches(file, group, names)):
                    yield batch_part(batch, position + done, _few_at_once)
                    done += batch.num_rows
            except (OSError, pa.ArrowException) as error:
                what = f"row group {group} of file {split.name} cannot be read"
                record = unreadable(what, error, f"{rows - done:,} rows from row {done} of it on are missing")
                yield Part(partial(iter, [record]))
            position += rows


def _batches(file: pq.ParquetFile, group: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    metadata = file.metadata.row_group(group)
    batch_rows = rows_at_once(metadata.num_rows, metadata.total_byte_size)
    yield from file.iter_batches(batch_rows, row_groups=[group], columns=names, use_threads=False)


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Put small batches together; those before what ``batches`` raises come first.

    They are read small, since values that repeat have fewer bytes in the file than in memory.
    """
    gathered: list[pa.RecordBatch] = []
    rows = size = 0
    try:
        for batch in batches:
            gathered.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if size >= BATCH_BYTES or rows + batch.num_rows > COLUMN_ROWS:
                yield from _together(gathered)
                gathered, rows, size = [], 0, 0
    except (OSError, pa.ArrowException):
        if gathered:
            yield from _together(gathered)
        raise
    if gathered:
        yield from _together(gathered)


def _together(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    try:
        return batches if len(batches) == 1 else [pa.concat_batches(batches)]
    # Dictionaries that have too many entries for one together.
    except pa.ArrowException:
        return batches


def _few_at_once(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield from python_rows(batch.slice(start, BATCH_ROWS))


def _ids_alone_decide(split: Split, fields: Fields, id_column: str) -> bool:
    """Tell from the footer whether no row of the split can be dead but for its id, or an image that is unusable.

    So it is where ids and texts are strings (ids may be integers) without nulls, and payload columns are of kinds
    and ranges that have a JSON form. Where there is a column of images, these must have no nulls, and texts may.
    Then ids can be compared without reading texts and images.
    """
    with _open(split) as file:
        schema, metadata = file.schema_arrow, file.metadata
        kinds = {field.name: _kind(field.type) for field in schema}
        if kinds.get(id_column) not in ("string", "integer"):
            return False
        if kinds.get(fields.text, None if fields.image is None else "string") != "string":
            return False
        whole = fields.text if fields.image is None else _image_leaf(schema, fields.image)
        others = {name for name in kinds if fields.payload is None or name in fields.payload}
        others -= {id_column, fields.text, fields.image or ""}
        if whole is None or any(kinds[name] is None for name in others):
            return False
        ranged = [name for name in others if kinds[name] == "ranged"]
        for group in range(split.start, metadata.num_row_groups if split.stop is None else split.stop):
            chunks = [metadata.row_group(group).column(at) for at in range(metadata.num_columns)]
            statistics = {chunk.path_in_schema: chunk.statistics for chunk in chunks}
            if any(_nulls(statistics.get(name)) != 0 for name in (id_column, whole)):
                return False
            if not all(_has_range(statistics.get(name)) for name in ranged):
                return False
    return True


def _image_leaf(schema: pa.Schema, column: str) -> str | None:
    """Name the column of values in which an image column has its nulls; None where it is of no kind for images."""
    if column not in schema.names:
        return None
    kind = schema.field(column).type
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        return f"{column}.bytes" if "bytes" in names and pa.types.is_binary(kind.field("bytes").type) else None
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string)
    return column if any(test(kind) for test in tests) else None


def _kind(column: pa.DataType) -> str | None:
    """Kind of a column whose values all have a JSON form; "ranged" where that holds only within a range."""
    types = pa.types
    if types.is_dictionary(column):
        column = column.value_type
    if types.is_string(column) or types.is_large_string(column):
        return "string"
    if types.is_integer(column):
        return "integer"
    if types.is_floating(column) or types.is_date(column) or types.is_timestamp(column):
        return "ranged"
    return "other" if types.is_boolean(column) or types.is_null(column) else None


def _nulls(statistics: pq.Statistics | None) -> int | None:
    return statistics.null_count if statistics is not None and statistics.has_null_count else None


def _has_range(statistics: pq.Statistics | None) -> bool:
    """Whether all values lie between two that Python can hold: no infinity, no date past the year 9999."""
    if statistics is None or not statistics.has_min_max:
        return False
    try:
        ends = (statistics.min, statistics.max)
    except (ValueError, OverflowError):
        return False
    return all(math.isfinite(end) for end in ends if isinstance(end, float))
