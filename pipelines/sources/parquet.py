"""Records of Parquet files, and what their footers tell without reading them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sources.files import filesystem_of
from pipelines.sources.split import Record, Split, Undecodable, unreadable

BATCH_BYTES = 8 << 20
BATCH_ROWS = 1024
READ_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Footer:
    """Columns of a file, and rows and bytes (uncompressed) of each of its row groups."""

    columns: tuple[str, ...]
    groups: tuple[tuple[int, int], ...]


def read_footer(split: Split) -> Footer:
    """Read a file's footer; raises OSError or pyarrow.ArrowException where it is damaged."""
    with _open(split) as file:
        metadata = file.metadata
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        return Footer(
            tuple(file.schema_arrow.names), tuple((group.num_rows, group.total_byte_size) for group in groups)
        )


@contextmanager
def _open(split: Split) -> Iterator[pq.ParquetFile]:
    with filesystem_of(split.root).open_input_file(split.path) as source:
        # With a buffer, a column chunk is streamed instead of fetched whole.
        yield pq.ParquetFile(source, buffer_size=READ_BUFFER_BYTES)


def parquet_records(split: Split, columns: Collection[str] | None) -> Iterator[Record]:
    """Read the split's row groups, of ``columns`` only unless None.

    A row group that cannot be read is one record with an error; those after it are read all the same. Raises as
    ``read_footer`` does.
    """
    with _open(split) as file:
        twice = [name for name in file.schema_arrow.names if file.schema_arrow.names.count(name) > 1]
        if twice:
            raise pa.ArrowInvalid(f"the column {twice[0]!r} stands twice")
        names = [name for name in file.schema_arrow.names if columns is None or name in columns]
        position = 0
        for group in range(split.start, file.num_row_groups if split.stop is None else split.stop):
            rows = file.metadata.row_group(group).num_rows
            done = 0
            try:
                for values in _group_rows(file, group, names):
                    yield position + done, values, None
                    done += 1
            except (OSError, pa.ArrowException) as error:
                what = f"row group {group} of file {split.name} cannot be read"
                yield unreadable(what, error, f"{rows - done:,} rows from row {done} of it on are missing")
            position += rows


def _group_rows(file: pq.ParquetFile, group: int, names: list[str]) -> Iterator[dict[str, Any]]:
    metadata = file.metadata.row_group(group)
    batch_rows = max(1, min(BATCH_ROWS, BATCH_BYTES * metadata.num_rows // max(1, metadata.total_byte_size)))
    for batch in file.iter_batches(batch_rows, row_groups=[group], columns=names, use_threads=False):
        columns = [_python_values(batch.column(at)) for at in range(batch.num_columns)]
        if not columns:
            yield from ({} for _ in range(batch.num_rows))
        for values in zip(*columns, strict=True):
            yield dict(zip(batch.schema.names, values, strict=True))


def _python_values(array: pa.Array) -> list[Any]:
    """Convert to Python values; one that has none (a date past 9999, bytes that are not UTF-8) costs no other."""
    try:
        values: list[Any] = array.to_pylist(maps_as_pydicts="strict")
        return values
    except (ValueError, OverflowError, KeyError, pa.ArrowException):
        return [_python_value(scalar) for scalar in array]


def _python_value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py(maps_as_pydicts="strict")
    except (ValueError, OverflowError, KeyError, pa.ArrowException) as error:
        return Undecodable(str(error))


def ids_alone_decide(
    split: Split, id_column: str, text_column: str, payload: Collection[str] | None, image_column: str | None = None
) -> bool:
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
        if kinds.get(text_column, None if image_column is None else "string") != "string":
            return False
        whole = text_column if image_column is None else _image_leaf(schema, image_column)
        others = {name for name in kinds if payload is None or name in payload}
        others -= {id_column, text_column, image_column or ""}
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
