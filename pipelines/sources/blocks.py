"""Cuts tables of rows anew, by the rules of ``rows.blocks``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.rows import BLOCK_BYTES, BLOCK_CHARACTERS


def regrouped(tables: Iterable[pa.Table], block_rows: int) -> Iterator[pa.Table]:
    """Yield tables with the rows of others, which have no images, in blocks as ``rows.blocks`` makes them."""
    block: list[pa.Table] = []
    rows = 0
    for table in tables:
        totals, characters = np.zeros(table.num_rows + 1, np.int64), 0
        # Characters are counted only where there may be too many: no text has more of them than bytes.
        if sum(map(_size, [*block, table])) >= BLOCK_CHARACTERS:
            totals[1:] = np.cumsum(_characters(table))
            characters = sum(int(_characters(part).sum()) for part in block)
        start = 0
        while start < table.num_rows:
            stop, is_full = _end(totals, start, rows, characters, block_rows)
            if stop > start:
                block.append(table.slice(start, stop - start))
                rows += stop - start
                characters += int(totals[stop] - totals[start])
                start = stop
            if is_full:
                yield _together(block)
                block, rows, characters = [], 0, 0
    if block:
        yield _together(block)


def _end(totals: npt.NDArray[np.int64], start: int, rows: int, characters: int, block_rows: int) -> tuple[int, bool]:
    """Find where a block that has ``rows`` and ``characters`` ends in a table, and whether it is full there.

    ``totals`` are the characters before each row of the table, and of all its rows.
    """
    there = characters - totals[start]
    ends = [start + block_rows - rows, int(np.searchsorted(totals, BLOCK_CHARACTERS - there))]
    # With the row that reaches the one limit, but before the row that would go past the other.
    fitting = int(np.searchsorted(totals, BLOCK_BYTES - there, side="right")) - 1
    if fitting < len(totals) - 1:
        ends.append(max(fitting, start if rows else start + 1))
    stop = min(ends)
    return min(stop, len(totals) - 1), stop < len(totals)


def _size(table: pa.Table) -> int:
    return int(table["text"].nbytes + table["payload"].nbytes)


def _characters(table: pa.Table) -> npt.NDArray[np.int64]:
    texts, payloads = (pc.fill_null(pc.utf8_length(table[name]), 0).to_numpy() for name in ("text", "payload"))
    lengths: npt.NDArray[np.int64] = texts + payloads
    return lengths


def _together(tables: list[pa.Table]) -> pa.Table:
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks()
