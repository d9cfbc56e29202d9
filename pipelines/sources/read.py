"""Reads one split, row by row, into Arrow tables."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config import SourceConfig
from pipelines.schema import SOURCE_SCHEMA, RowError, error_array
from pipelines.sources.parquet import parquet_records
from pipelines.sources.rows import Block, Fields, blocks
from pipelines.sources.split import STAGE, Record, Split, unreadable
from pipelines.sources.text_formats import csv_records, jsonl_records, text_records

# pyarrow's own errors derive from ArrowException or OSError.
READ_ERRORS = (OSError, EOFError, zlib.error, csv.Error, UnicodeError, pa.ArrowException)


@dataclass(frozen=True)
class Repeats:
    """Rows of a split whose id was read before: sorted positions, and the origins of the rows that are kept."""

    positions: npt.NDArray[np.int64]
    firsts: tuple[str, ...]


def read_split(
    split: Split, config: SourceConfig, *, block_rows: int, repeats: Repeats | None = None
) -> Iterator[pa.Table]:
    """Yield a split's rows as tables of SOURCE_SCHEMA with at most ``block_rows`` rows; fewer where texts are long.

    Never raises for data: a row that cannot be used, or repeats an id, has an error; so has the one row, without
    an id, that stands for an unreadable file or the unreadable rest of one.
    """
    fields = Fields.of(split, config)
    for block in blocks(read_records(split, config), fields, block_rows):
        if repeats is not None:
            _mark_repeats(block, repeats)
        yield pa.table(
            [
                pa.array(block.ids, pa.string()),
                pa.array(block.texts, pa.large_string()),
                pa.array(block.payloads, pa.large_string()),
                pa.array([split.origin(position) for position in block.positions], pa.string()),
                error_array(block.errors),
            ],
            schema=SOURCE_SCHEMA,
        )


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
    return jsonl_records(split) if split.format == "jsonl" else text_records(split)


def _mark_repeats(block: Block, repeats: Repeats) -> None:
    positions = np.array([-1 if position is None else position for position in block.positions])
    at = np.searchsorted(repeats.positions, positions)
    hashed = set(block.hashed)
    for row in np.flatnonzero(np.isin(positions, repeats.positions)):
        first = repeats.firsts[at[row]]
        what = "the content" if row in hashed else f"document id {str(block.ids[row])[:200]!r}"
        message = f"{what} was already read at {first}; the first is kept"
        block.errors[row] = block.errors[row] or RowError(STAGE, "DuplicateId", message)
