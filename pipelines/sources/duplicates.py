"""Scans a source before it is embedded: counts rows, hashes ids, and tells which rows repeat one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config.source import SourceConfig
from pipelines.hashing import Column, text_column, xxh3_64
from pipelines.sources.column_rows import ColumnRows
from pipelines.sources.formats import format_named
from pipelines.sources.read import (
    Repeats,
    as_table,
    for_texts,
    is_read_by_columns,
    read_parts,
    read_records,
    read_split,
)
from pipelines.sources.records import READ_ERRORS
from pipelines.sources.rows import Row, blocks, parse_rows
from pipelines.sources.split import Split

SCAN_ROWS = 1024
# A row and the hash of its id (see document_keys): the number of its split in the plan, and its position there.
ROW = np.dtype([("key", np.uint64), ("split", np.int32), ("position", np.int64)])
# Of fewer, rows are read one by one: for columns, pyarrow loads pandas, which takes longer than these rows do.
FEWEST_BYTES = 4 << 20

TakeRows = Callable[[pa.Table], None]


@dataclass(frozen=True)
class SplitScan:
    """What a first look at a split tells.

    ``rows`` counts all rows but deletions, ``dead`` those of them that are dead by themselves; ``characters`` of text
    is None where texts were not read. ``keys`` (xxh3_64 of the document id) and ``positions`` (uint64, ascending) are
    those of live rows, ``dead_keys`` those of dead rows; ``nameless`` counts dead rows whose id is not known, one for
    all that cannot be read. ``deleted`` are ids of documents that rows say are deleted, ``deleted_positions`` where;
    ``marked`` tells that any row has the column that marks them.
    ``lines`` is the number of lines (or rows) by which the parts of a file that come later are numbered.
    One that is not ``is_exact`` takes dead rows for live ones, and positions are no more than an order: what repeats an
    id in it must be looked at again.
    """

    split: Split
    rows: int
    dead: int
    characters: int | None
    keys: npt.NDArray[np.uint64]
    positions: npt.NDArray[np.uint64]
    lines: int | None = None
    dead_keys: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    nameless: int = 0
    deleted: tuple[str, ...] = ()
    deleted_positions: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    marked: bool = False
    is_exact: bool = True

    def without_keys(self) -> SplitScan:
        """Leave out what has a number for each row."""
        none = np.zeros(0, np.uint64)
        return replace(self, keys=none, positions=none, dead_keys=none)


def scan_split(split: Split, config: SourceConfig, take: TakeRows | None = None) -> SplitScan:
    """Count a split's rows and hash their ids; with ``take``, read its texts as well, and hand all rows to it.

    It gets tables as ``read_split`` gives them, without images and without regard to other rows' ids. The payload is
    theirs where it was to be read anyway, else empty.

    Without, files of one document, text or image, are not opened, nor are images that rows refer to; one that will turn
    out not to be readable counts as live. Only ids are read where the format can tell that nothing else makes a row
    dead (``Format.ids``); else this takes as long as reading. Never raises for data.
    """
    kind = format_named(split.format)
    if kind.is_identified:
        # Whoever plans them sees to it that each id comes once.
        if take is not None:
            for table in kind.identified(split, config, block_rows=SCAN_ROWS):
                take(table)
        return SplitScan(split, kind.count_documents(split), 0, None, np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    if take is not None and kind.is_document:
        for table in read_split(split, config, block_rows=SCAN_ROWS, images=False):
            take(table)
        take = None
    ids = kind.ids(split, config) if take is None else None
    if ids is None:
        scan = _scan_rows(split, config, take)
    else:
        scan = SplitScan(split, len(ids), 0, None, document_keys(ids), np.arange(len(ids), dtype=np.uint64))
    if scan.lines is not None:
        return scan
    try:
        return replace(scan, lines=kind.count_rows(split))
    except READ_ERRORS:
        return replace(scan, lines=0)


def _scan_rows(split: Split, config: SourceConfig, take: TakeRows | None) -> SplitScan:
    scan = _Scan(split)
    for rows in _rows(split, config if take is None else for_texts(split, config), scan.take_lines):
        if isinstance(rows, ColumnRows):
            scan.add_columns(rows)
        else:
            scan.add_rows(rows)
        if take is not None:
            take(as_table(rows, split))
    return scan.total()


def _rows(split: Split, config: SourceConfig, tell_lines: Callable[[int], None]) -> Iterator[ColumnRows | list[Row]]:
    fields = format_named(split.format).fields(config)
    if split.bytes < FEWEST_BYTES or not is_read_by_columns(split, config):
        yield from blocks(parse_rows(read_records(split, config), fields), SCAN_ROWS)
        return
    for part in read_parts(split, config, fields, tell_lines):
        if isinstance(part, ColumnRows):
            yield part
        else:
            yield from blocks(part, SCAN_ROWS)


class _Scan:
    """Sums up the rows of a split."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._rows = self._characters = self._nameless = 0
        self._deleted: dict[int, str] = {}
        self._marked = False
        self._lines: int | None = None
        self._keys, self._positions, self._dead_keys = ([np.zeros(0, np.uint64)] for _ in range(3))

    def take_lines(self, lines: int) -> None:
        """Take the number of the split's lines, which later parts of the file are numbered by."""
        if lines and self._split.stop is not None:
            self._lines = lines

    def add_columns(self, rows: ColumnRows) -> None:
        self._rows += len(rows.positions)
        self._marked |= rows.marked
        self._characters += pc.sum(pc.utf8_length(rows.texts)).as_py() or 0
        self._keys.append(document_keys(rows.ids))
        self._positions.append(rows.positions.astype(np.uint64))

    def add_rows(self, rows: Sequence[Row]) -> None:
        self._marked = self._marked or any(row.marked for row in rows)
        self._deleted |= {row.position or 0: row.id or "" for row in rows if row.deleted and row.error is None}
        alive = [row for row in rows if row.error is None and not row.deleted]
        # An id that cannot be read as it is has a replacement character in it, and may be any.
        dead = [row.id or "\ufffd" for row in rows if row.error is not None]
        named = [name for name in dead if "\ufffd" not in name]
        self._rows += len(alive) + len(dead)
        self._characters += sum(len(row.text or "") for row in alive)
        self._keys.append(document_keys(text_column([row.id or "" for row in alive])))
        self._positions.append(np.array([row.position for row in alive], dtype=np.uint64))
        self._dead_keys.append(document_keys(text_column(named)))
        self._nameless += len(dead) - len(named)

    def total(self) -> SplitScan:
        keys = np.concatenate(self._keys)
        return SplitScan(
            self._split,
            self._rows,
            self._rows - len(keys),
            self._characters,
            keys,
            np.concatenate(self._positions),
            lines=self._lines,
            dead_keys=np.concatenate(self._dead_keys),
            nameless=self._nameless,
            deleted=tuple(self._deleted.values()),
            deleted_positions=np.array(list(self._deleted), dtype=np.uint64),
            marked=self._marked,
        )


def document_keys(ids: Column) -> npt.NDArray[np.uint64]:
    """Hash a column of document ids, none of which is null, to 64 bits, by which they are compared."""
    return xxh3_64(ids)


def number_lines(scans: Sequence[SplitScan]) -> list[Split]:
    """Give the scanned splits, all of a plan in its order, the numbers of their first lines where these were open."""
    splits: list[Split] = []
    line = 1
    for scan in scans:
        split = scan.split
        if scan.lines is not None:
            line = 1 if split.start == 0 else line
            split = replace(split, first_row=line)
            line += scan.lines
        splits.append(split)
    return splits


@dataclass(frozen=True)
class Duplicates:
    """The rows that repeat an id: (position, number of the first one's split, its position) for each split.

    ``deletions`` counts those of them that are deletions, of documents that live rows have.
    """

    splits: Sequence[Split]
    rows: dict[int, npt.NDArray[np.int64]]
    deletions: int = 0

    def of_split(self, number: int) -> Repeats | None:
        """Rows of one split, by its number in the plan, that repeat an id; None where there are none."""
        if number not in self.rows:
            return None
        found = self.rows[number]
        firsts = tuple(self.splits[split].origin(position) for _, split, position in found.tolist())
        return Repeats(found[:, 0], firsts)


@dataclass(frozen=True)
class ComparedIds:
    """What comparing ids tells, of all rows or of those whose hashes are in one range.

    ``rows`` counts live and dead rows with an id. ``repeats`` (n, 4) are rows whose id a live row before them has, and
    deletions whose id any live row has: number of the split, position, and both of the first live row; ``deletions``
    counts the latter. ``present`` (ROW) are deletions whose id a row has, live or dead. ``keys`` are the sorted hashes
    of all rows, None where they were not to be kept.
    """

    rows: int
    repeats: npt.NDArray[np.int64]
    deletions: int
    present: npt.NDArray[Any]
    keys: npt.NDArray[np.uint64] | None


def find_duplicates(scans: Sequence[SplitScan], compared: Sequence[ComparedIds]) -> Duplicates:
    """Find the rows whose id an earlier row has, in the order of splits and rows; ``scans`` are all of a plan's.

    A deletion is one where any live row has its id.

    Ids are compared by 64-bit hashes. Among n ids, the chance that two different ones look equal, so that a good row
    ends as a dead letter, is n^2 / 2^65: 1 in 3,700 for 100 million.
    """
    repeats = np.concatenate([np.zeros((0, 4), np.int64), *(part.repeats for part in compared)])
    repeats = repeats[np.lexsort((repeats[:, 1], repeats[:, 0]))]
    numbers, starts = np.unique(repeats[:, 0], return_index=True)
    rows = dict(zip(numbers.tolist(), np.split(repeats[:, 1:], starts[1:]), strict=False))
    return Duplicates(number_lines(scans), rows, sum(part.deletions for part in compared))
