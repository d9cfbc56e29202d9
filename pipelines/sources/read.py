"""Reads one split, row by row, into Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config.source import SourceConfig
from pipelines.rows import SOURCE_SCHEMA, RowError, error_array
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
    rows = parse_rows(read_records(split, config), fields)
    rows = rows if repeats is None else _marked(rows, repeats)
    rows = (row for row in rows if not row.deleted or row.error is not None)
    fetched = fields.image is not None and images
    if fields.image is not None:
        rows = _with_images(rows, split, config) if images else map(_without_image, rows)
    for block in blocks(rows, block_rows):
        yield _table(block, split, has_images=fetched)


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
        for position, values, error in format_named(split.format).records(split, config):
            # A column of the file goes before one of that name in the names of its folders.
            if split.partitions and values is not None:
                values = {**dict(split.partitions), **values}
            yield position, values, error
    except READ_ERRORS as error:
        after = "" if position is None else f" after {split.origin(position)}"
        yield unreadable(f"file {split.name} cannot be read{after}", error, "rows in it are missing")


def _marked(rows: Iterable[Row], repeats: Repeats) -> Iterator[Row]:
    """Give the rows that repeat an id an error; their images are not fetched then."""
    firsts = dict(zip(repeats.positions.tolist(), repeats.firsts, strict=True))
    for row in rows:
        first = firsts.get(row.position)
        if first is not None and row.error is None:
            what = "the content" if row.hashed else f"document id {str(row.id)[:200]!r}"
            message = f"{what} was already read at {first}; the first is kept"
            if row.deleted:
                message = f"{what} is deleted here, and is a document at {first}; the document stays"
            row.error = RowError(STAGE, "DuplicateId", message)
            row.image = row.reference = None
        yield row
