"""Plans the reading of rows in memory: cuts them into splits, and looks whether the columns are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from more_itertools import constrained_batches

from pipelines.config.source import SourceConfig
from pipelines.sources.base import Outline
from pipelines.sources.memory.data import Data, HeldRows
from pipelines.sources.memory.format import InMemory, data_of
from pipelines.sources.named_columns import check_columns
from pipelines.sources.split import SPLIT_BYTES, PlannedRows, SourcePlan, Split


def plan_data(config: SourceConfig) -> SourcePlan:
    """Cut the rows of ``source.data`` into splits; raises SourceError for a column that is not there."""
    data = data_of(config)
    splits = tuple(_splits(data))
    unmarked = check_columns(config, splits[:1], [Outline(splits[:1], data.columns)], ())
    rows = data.row_count if config.limit is None else min(data.row_count, config.limit)
    planned = PlannedRows(data.title, rows, data.bytes, data.columns)
    return SourcePlan(tuple(_limited(splits, config.limit)), data=planned, unmarked=unmarked)


def check_known_columns(config: SourceConfig, found: PlannedRows) -> None:
    """Raise SourceError where a column is not in those that Ray knows of; where it knows of none, none is missed."""
    if found.columns is not None:
        no_rows = tuple(_splits(Data(found.title, HeldRows([]))))
        check_columns(config, no_rows, [Outline(no_rows, found.columns)], ())


def _splits(data: Data) -> Iterator[Split]:
    # Images that rows name by a relative path are below the folder that the job is started in.
    folder = str(Path.cwd())
    empty = Split(folder, f"{folder}/{data.title}", data.title, InMemory.name, 0, 0, 0, rows=0)
    start = 0
    for group in constrained_batches(_cut(data), SPLIT_BYTES, get_len=lambda piece: piece[1], strict=False):
        rows, size = (sum(column) for column in zip(*group, strict=True))
        yield replace(empty, bytes=size, start=start, stop=start + rows, first_row=start + 1, rows=rows)
        start += rows
    if not start:
        yield empty


def _cut(data: Data) -> Iterator[tuple[int, int]]:
    """Yield rows and bytes of blocks, those of large ones in parts."""
    for rows, size in data.sizes:
        parts = max(1, min(rows, -(-size // SPLIT_BYTES)))
        ends = [rows * part // parts for part in range(parts + 1)]
        for start, stop in pairwise(ends):
            if stop > start:
                yield stop - start, size * (stop - start) // rows


def _limited(splits: tuple[Split, ...], limit: int | None) -> Iterator[Split]:
    for split in splits:
        if limit is None:
            yield split
        elif limit > 0 or split.start == 0:
            yield replace(split, max_rows=limit)
            limit -= split.rows or 0
