"""Rows in memory as a format: as columns where a block has nothing odd, else one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config.source import SourceConfig
from pipelines.rows import RowError
from pipelines.sources.arrow_rows import batch_part, chosen_columns, is_sound, python_rows, rows_at_once
from pipelines.sources.base import Format
from pipelines.sources.json_columns import OddError
from pipelines.sources.json_lines import MISSING, PARSED_TOGETHER, json_column, values_by_key
from pipelines.sources.memory.data import Data
from pipelines.sources.memory.plain import SIMPLE, plain, plain_dict
from pipelines.sources.parts import COLUMN_ROWS, Column, Columns, Part, all_records
from pipelines.sources.records import STAGE, Record
from pipelines.sources.split import Split


class InMemory(Format):
    """Rows of ``source.data``; ``start`` and ``stop`` of a split count all of them."""

    name = "memory"
    has_columns = True
    mark = "row "

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Read rows one by one."""
        return all_records(self.parts(split, config))

    def parts(self, split: Split, config: SourceConfig) -> Iterator[Part]:
        """Read rows by blocks, each of one kind."""
        chosen, position = self.fields(config).columns, 0
        for piece in data_of(config).rows.pieces(split.start, split.start if split.stop is None else split.stop):
            if isinstance(piece, pa.Table):
                yield from _table_parts(piece, position, chosen)
                position += piece.num_rows
            else:
                yield from _python_parts(piece, position, chosen)
                position += len(piece)


def data_of(config: SourceConfig) -> Data:
    """Return what a source reads from memory; raises ValueError where it does not."""
    if config.data is None:
        raise ValueError("the source is not in memory")
    return config.data


def _table_parts(table: pa.Table, position: int, chosen: Collection[str] | None) -> Iterator[Part]:
    # Many small chunks are put together; one is left as it is.
    for batch in table.select(chosen_columns(table.schema, chosen)).combine_chunks().to_batches():
        doubtful = [
            name for name, column in zip(batch.schema.names, batch.columns, strict=True) if not is_sound(column)
        ]
        step = rows_at_once(batch.num_rows, batch.nbytes, COLUMN_ROWS)
        for start in range(0, batch.num_rows, step):
            part = batch_part(batch.slice(start, step), position + start, partial(_few_at_once, doubtful=doubtful))
            yield Part(part.records) if doubtful else part
        position += batch.num_rows


def _few_at_once(batch: pa.RecordBatch, doubtful: Collection[str]) -> Iterator[dict[str, Any]]:
    step = rows_at_once(batch.num_rows, batch.nbytes)
    for start in range(0, batch.num_rows, step):
        yield from python_rows(batch.slice(start, step), doubtful)


def _python_parts(rows: Sequence[Any], position: int, chosen: Collection[str] | None) -> Iterator[Part]:
    for start in range(0, len(rows), COLUMN_ROWS):
        some = rows[start : start + COLUMN_ROWS]
        yield Part(partial(_records, some, position + start), partial(_columns, some, position + start, chosen))


def _records(rows: Sequence[Any], first: int) -> Iterator[Record]:
    for position, row in enumerate(rows, first):
        if isinstance(row, RowError):
            yield position, None, row
            continue
        try:
            values = plain_dict(row)
        except RecursionError:
            yield position, None, RowError(STAGE, "InvalidRow", "the row is nested too deeply")
        except ValueError as error:
            yield position, None, RowError(STAGE, "InvalidRow", str(error)[:500])
        else:
            yield position, values, None


def _columns(rows: Sequence[Any], first: int, chosen: Collection[str] | None) -> Columns | None:
    """Put rows into columns as ``json_columns`` does those of lines; None where one must be looked at alone."""
    pieces = (list(rows[start : start + PARSED_TOGETHER]) for start in range(0, len(rows), PARSED_TOGETHER))
    try:
        values = values_by_key(pieces)
        if values is None or any(type(name) is not str for name in values):
            return None
        wanted = values.keys() if chosen is None else values.keys() & set(chosen)
        by_name = {name: _column(values[name]) for name in wanted}
    except (ValueError, TypeError, RecursionError, OddError, pa.ArrowException):
        return None
    return Columns(np.arange(first, first + len(rows)), by_name)


def _column(values: list[Any]) -> Column:
    kinds = set(map(type, values))
    if not kinds - {type(MISSING)} <= SIMPLE:
        values = [value if value is MISSING else plain(value) for value in values]
        kinds = set(map(type, values))
    return json_column(values, kinds)
