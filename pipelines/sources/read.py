"""Reads one split, row by row, into Arrow tables."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config.source import SourceConfig
from pipelines.rows import SOURCE_SCHEMA, RowError, error_array
from pipelines.sources.images.ahead import fetch_images
from pipelines.sources.images.exif import read_exif
from pipelines.sources.images.loader import ImageLoader
from pipelines.sources.parquet import parquet_records
from pipelines.sources.rows import Fields, Row, add_to_payload, blocks, parse_rows
from pipelines.sources.split import STAGE, Record, Split, unreadable
from pipelines.sources.text_formats import csv_records, jsonl_records, text_records
from pipelines.sources.webdataset import webdataset_records

# pyarrow's own errors derive from ArrowException or OSError.
READ_ERRORS = (OSError, EOFError, zlib.error, csv.Error, UnicodeError, pa.ArrowException)


@dataclass(frozen=True)
class Repeats:
    """Rows of a split whose id was read before: sorted positions, and the origins of the rows that are kept."""

    positions: npt.NDArray[np.int64]
    firsts: tuple[str, ...]


def read_split(
    split: Split, config: SourceConfig, *, block_rows: int, repeats: Repeats | None = None, images: bool = True
) -> Iterator[pa.Table]:
    """Yield a split's rows as tables of SOURCE_SCHEMA with at most ``block_rows`` rows and 64 MB, or one larger row.

    Images are fetched from where rows refer to; with ``images`` False, rows are read without. Never raises for data: a
    row that cannot be used, or repeats an id, has an error; so has the one row, without an id, that stands for an
    unreadable file or the unreadable rest of one.
    """
    fields = Fields.of(split, config)
    rows = parse_rows(read_records(split, config), fields)
    rows = rows if repeats is None else _marked(rows, repeats)
    if fields.image is None or not images:
        rows = rows if fields.image is None else map(_without_image, rows)
        yield from (_table(block, split, has_images=False) for block in blocks(rows, block_rows))
        return
    with ImageLoader(split, config) as loader:
        fetched = fetch_images(rows, loader)
        described = map(_with_exif, fetched) if config.exif else fetched
        yield from (_table(block, split, has_images=True) for block in blocks(described, block_rows))


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


def _with_exif(row: Row) -> Row:
    if row.image is not None and row.error is None and (found := read_exif(row.image)):
        row.payload = add_to_payload(row.payload, "exif", found)
    return row


def read_records(split: Split, config: SourceConfig) -> Iterator[Record]:
    """Yield at most ``split.max_rows`` records; one that says what is missing takes the place of an exception."""
    return islice(_all_records(split, config), split.max_rows)


def _all_records(split: Split, config: SourceConfig) -> Iterator[Record]:
    position = None
    try:
        for record in _records(split, config):
            position = record[0]
            yield record
    except READ_ERRORS as error:
        after = "" if position is None else f" after {split.origin(position)}"
        yield unreadable(f"file {split.name} cannot be read{after}", error, "rows in it are missing")


def _records(split: Split, config: SourceConfig) -> Iterator[Record]:
    if split.format == "parquet":
        return parquet_records(split, Fields.of(split, config).columns)
    if split.format == "csv":
        return csv_records(split, config.delimiter)
    if split.format == "webdataset":
        return webdataset_records(split, config)
    if split.format == "image":
        return image_records(split)
    return jsonl_records(split) if split.format == "jsonl" else text_records(split)


def image_records(split: Split) -> Iterator[Record]:
    """Name a split's image files, without opening one: each is a document, whose id is its name."""
    for position, file in enumerate(split.files):
        yield position, {"id": file.name, "image": file, "path": file.name}, None


def _marked(rows: Iterable[Row], repeats: Repeats) -> Iterator[Row]:
    """Give the rows that repeat an id an error; their images are not fetched then."""
    firsts = dict(zip(repeats.positions.tolist(), repeats.firsts, strict=True))
    for row in rows:
        first = firsts.get(row.position)
        if first is not None and row.error is None:
            what = "the content" if row.hashed else f"document id {str(row.id)[:200]!r}"
            row.error = RowError(STAGE, "DuplicateId", f"{what} was already read at {first}; the first is kept")
            row.image = row.reference = None
        yield row
