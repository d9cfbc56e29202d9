"""Reads one split into Arrow tables: by columns where a format has them, else row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config.source import SourceConfig
from pipelines.rows import IMAGE_COLUMN, SOURCE_SCHEMA, RowError, add_errors, error_array
from pipelines.sources.base import Fields
from pipelines.sources.blocks import regrouped
from pipelines.sources.column_rows import ColumnRows, parse_columns
from pipelines.sources.formats import format_named
from pipelines.sources.records import READ_ERRORS, STAGE, Record, unreadable
from pipelines.sources.rows import Row, add_to_payload, blocks, parse_rows
from pipelines.sources.split import Split


@dataclass(frozen=True)
class Repeats:
    """Rows of a split whose id another row has: sorted positions, and the origins of the rows that are kept."""

    positions: npt.NDArray[np.int64]
    firsts: tuple[str, ...]


def read_split(
    split: Split, config: SourceConfig, *, block_rows: int, repeats: Repeats | None = None, images: bool = True
) -> Iterator[pa.Table]:
    """Yield a split's rows as tables of SOURCE_SCHEMA with at most ``block_rows`` rows and 64 MB, or one larger row.

    Images are fetched from where rows refer to; with ``images`` False, rows are read without. Never raises for data: a
    row that cannot be used, or repeats an id, has an error; so has the one row, without an id, that stands for an
    unreadable file or the unreadable rest of one. Rows that are deletions are left out, unless they have an error.
    """
    fields = format_named(split.format).fields(config)
    if is_read_by_columns(split, config):
        yield from regrouped(_part_tables(split, config, fields, repeats, block_rows), block_rows)
        return
    rows = _usable(parse_rows(read_records(split, config), fields), repeats)
    fetched = fields.image is not None and images
    if fields.image is not None:
        rows = _with_images(rows, split, config) if images else map(_without_image, rows)
    for block in blocks(rows, block_rows):
        yield _table(block, split, has_images=fetched)


def for_texts(split: Split, config: SourceConfig) -> SourceConfig:
    """Leave out of what is read of a split all that neither ids nor texts need."""
    if format_named(split.format).needs_payload(split, config):
        return config
    return config.model_copy(update={"payload": []})


def is_read_by_columns(split: Split, config: SourceConfig) -> bool:
    """Whether a split's rows come as columns, but for those that have something odd."""
    kind = format_named(split.format)
    return kind.has_columns and kind.image_column(config.image) is None


def read_parts(
    split: Split, config: SourceConfig, fields: Fields, tell_lines: Callable[[int], None] = lambda lines: None
) -> Iterator[ColumnRows | Iterator[Row]]:
    """Yield a split's rows in parts: those of a part together, or one by one where one of them has something odd.

    Of a format that ``has_columns``, without images. Each part is to be used up before the next one. ``tell_lines`` is
    called at the end with the lines of all parts, if the split could be read to its end.
    """
    left = split.max_rows
    last = None
    lines = 0
    parts = iter(format_named(split.format).parts(split, config))
    while left is None or left > 0:
        try:
            part = next(parts, None)
        except READ_ERRORS as error:
            yield parse_rows([_cut_off(split, last, error)], fields)
            return
        if part is None:
            tell_lines(lines)
            return
        lines += part.lines
        columns = None if part.columns is None else part.columns()
        if columns is not None and (left is None or len(columns.positions) <= left):
            found = parse_columns(columns, fields, split.partitions)
            if found is not None:
                yield found
                last = int(columns.positions[-1]) if len(columns.positions) else last
                left = None if left is None else left - len(columns.positions)
                continue
        records = _Records(islice(_with_partitions(part.records(), split), left), split, last)
        yield parse_rows(records, fields)
        if records.is_cut_off:
            return
        last = records.last
        left = None if left is None else left - records.count


def _usable(rows: Iterable[Row], repeats: Repeats | None) -> Iterator[Row]:
    """Mark the rows that repeat an id, and leave out deletions that have no error."""
    marked = rows if repeats is None else _marked(rows, repeats)
    return (row for row in marked if not row.deleted or row.error is not None)


def as_table(rows: ColumnRows | list[Row], split: Split) -> pa.Table:
    """Make a table of SOURCE_SCHEMA of rows as ``read_split`` does, without images."""
    if isinstance(rows, ColumnRows):
        return _column_table(rows, split, None)
    return _table(list(_usable(rows, None)), split, has_images=False)


def _part_tables(
    split: Split, config: SourceConfig, fields: Fields, repeats: Repeats | None, block_rows: int
) -> Iterator[pa.Table]:
    for part in read_parts(split, config, fields):
        if isinstance(part, ColumnRows):
            yield _column_table(part, split, repeats)
        else:
            for block in blocks(_usable(part, repeats), block_rows):
                yield _table(block, split, has_images=False)


def _column_table(rows: ColumnRows, split: Split, repeats: Repeats | None) -> pa.Table:
    count = len(rows.positions)
    image, error = (pa.nulls(count, SOURCE_SCHEMA.field(name).type) for name in (IMAGE_COLUMN, "error"))
    origins = split.column_of_origins(rows.positions)
    table = pa.table([rows.ids, rows.texts, rows.payloads, image, origins, error], schema=SOURCE_SCHEMA)
    if repeats is None:
        return table
    errors = {}
    for at in np.flatnonzero(np.isin(rows.positions, repeats.positions)).tolist():
        first = repeats.firsts[int(np.searchsorted(repeats.positions, rows.positions[at]))]
        errors[at] = _repeated(rows.ids[at].as_py(), first, hashed=bool(rows.hashed[at]), deleted=False)
    return add_errors(table, errors)


def _table(block: list[Row], split: Split, *, has_images: bool) -> pa.Table:
    images = [row.image if row.error is None else None for row in block] if has_images else [None] * len(block)
    return pa.table(
        [
            pa.array([row.id for row in block], pa.string()),
            pa.array([row.text for row in block], pa.large_string()),
            pa.array([row.payload for row in block], pa.large_string()),
            pa.array(images, pa.large_binary()),
            pa.array(split.origins([row.position for row in block]), pa.string()),
            error_array([row.error for row in block]),
        ],
        schema=SOURCE_SCHEMA,
    )


def _without_image(row: Row) -> Row:
    row.image = row.reference = None
    return row


def _with_images(rows: Iterable[Row], split: Split, config: SourceConfig) -> Iterator[Row]:
    # Late, so that a source without images loads neither Pillow nor an HTTP client.
    from pipelines.sources.images.ahead import fetch_images
    from pipelines.sources.images.exif import read_exif
    from pipelines.sources.images.loader import ImageLoader

    with ImageLoader(split, config) as loader:
        for row in fetch_images(rows, loader):
            if config.exif and row.image is not None and row.error is None and (found := read_exif(row.image)):
                row.payload = add_to_payload(row.payload, "exif", found)
            yield row


def read_records(split: Split, config: SourceConfig) -> Iterator[Record]:
    """Yield at most ``split.max_rows`` records; one that says what is missing takes the place of an exception."""
    return islice(_all_records(split, config), split.max_rows)


def _all_records(split: Split, config: SourceConfig) -> Iterator[Record]:
    position = None
    try:
        for record in _with_partitions(format_named(split.format).records(split, config), split):
            position = record[0]
            yield record
    except READ_ERRORS as error:
        yield _cut_off(split, position, error)


def _with_partitions(records: Iterable[Record], split: Split) -> Iterator[Record]:
    for position, values, error in records:
        # A column of the file goes before one of that name in the names of its folders.
        if split.partitions and values is not None:
            values = {**dict(split.partitions), **values}
        yield position, values, error


def _cut_off(split: Split, last: int | None, error: BaseException) -> Record:
    """Make the record that stands for the rest of a split, behind the ``last`` row that was read."""
    after = "" if last is None else f" after {split.origin(last)}"
    return unreadable(f"file {split.name} cannot be read{after}", error, "rows in it are missing")


class _Records:
    """Records of a part, counted as they are read; ``last`` is the position of the last row so far."""

    def __init__(self, records: Iterable[Record], split: Split, last: int | None) -> None:
        self._records, self._split = records, split
        self.count = 0
        self.last = last
        self.is_cut_off = False

    def __iter__(self) -> Iterator[Record]:
        try:
            for record in self._records:
                self.count += 1
                self.last = record[0]
                yield record
        except READ_ERRORS as error:
            self.is_cut_off = True
            yield _cut_off(self._split, self.last, error)


def _marked(rows: Iterable[Row], repeats: Repeats) -> Iterator[Row]:
    """Give the rows that repeat an id an error; their images are not fetched then."""
    firsts = dict(zip(repeats.positions.tolist(), repeats.firsts, strict=True))
    for row in rows:
        first = firsts.get(row.position)
        if first is not None and row.error is None:
            row.error = _repeated(row.id, first, hashed=row.hashed, deleted=row.deleted)
            row.image = row.reference = None
        yield row


def _repeated(name: str | None, first: str, *, hashed: bool, deleted: bool) -> RowError:
    what = "the content" if hashed else f"document id {str(name)[:200]!r}"
    message = f"{what} was already read at {first}; the first is kept"
    if deleted:
        message = f"{what} is deleted here, and is a document at {first}; the document stays"
    return RowError(STAGE, "DuplicateId", message)
