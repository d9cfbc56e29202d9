"""Tables on their way through Ray, each packed into a single row.

Ray Data cuts and joins blocks by rows or by bytes, never by both, and joins them by rows alone before a stage on GPUs:
1,024 photos are gigabytes. A block that is one row to Ray is left as it is. To pack a table copies it once, which is
little beside the embedding of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BLOCK_BYTES = 64 << 20
COLUMN = "table"


def pack(table: pa.Table) -> pa.Table:
    """Make one row of a table."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    data = stream.getvalue()
    # By its buffers, because any other way copies the data once more.
    ends = pa.array([0, data.size], pa.int64()).buffers()[1]
    return pa.table({COLUMN: pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, data])})


def unpack(packed: pa.Table) -> pa.Table:
    """Undo ``pack``; the columns lie in the packed row's memory."""
    tables = [pa.ipc.open_stream(row.as_buffer()).read_all() for row in packed[COLUMN]]
    return pa.concat_tables(tables)


def regroup(tables: Iterable[pa.Table], block_rows: int, block_bytes: int = BLOCK_BYTES) -> Iterator[pa.Table]:
    """Cut and join tables, in order, to at most ``block_rows`` rows and about ``block_bytes``, or one larger table.

    A table is cut only at its rows' limit: those of the sources keep to the one of bytes by themselves.
    """
    group: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        for start in range(0, table.num_rows, block_rows):
            piece = table.slice(start, block_rows)
            if group and (rows + piece.num_rows > block_rows or size + piece.nbytes > block_bytes):
                yield pa.concat_tables(group).combine_chunks()
                group, rows, size = [], 0, 0
            group.append(piece)
            rows += piece.num_rows
            size += piece.nbytes
    if group:
        yield pa.concat_tables(group).combine_chunks()


def join(
    pieces: Iterable[pa.Table], sizes: npt.NDArray[np.int64], block_bytes: int = BLOCK_BYTES
) -> Iterator[pa.Table]:
    """Join neighbours whose rows, of these sizes in bytes (rows,), have at most ``block_bytes``, or give a larger one.

    What is joined depends on how the pieces were cut and on ``sizes`` alone, whatever has become of their rows.
    """
    group: list[pa.Table] = []
    row = size = 0
    for piece in pieces:
        added = int(sizes[row : row + piece.num_rows].sum())
        if group and size + added > block_bytes:
            yield pa.concat_tables(group).combine_chunks()
            group, size = [], 0
        group.append(piece)
        row, size = row + piece.num_rows, size + added
    if group:
        yield pa.concat_tables(group).combine_chunks()


def cut_as_decided(blocks: Iterable[pa.Table], decide: Callable[[int, int], int]) -> Iterator[pa.Table]:
    """Cut the same rows where they were cut before: ``decide`` takes a block's number and rows, and gives its rows."""
    left: pa.Table | None = None
    number = 0
    for block in blocks:
        left = block if left is None else pa.concat_tables([left, block])
        while left is not None and (rows := decide(number, left.num_rows)) <= left.num_rows:
            yield left.slice(0, rows).combine_chunks()
            left = left.slice(rows) if rows < left.num_rows else None
            number += 1
    if left is not None:
        yield left.combine_chunks()


def cut(table: pa.Table, sizes: npt.NDArray[np.int64], block_bytes: int = BLOCK_BYTES) -> Iterator[pa.Table]:
    """Cut a table of rows of these sizes in bytes, (rows,), to pieces of at most ``block_bytes``, or one larger row."""
    ends = np.cumsum(sizes)
    start, before = 0, 0
    while start < table.num_rows:
        end = max(start + 1, int(np.searchsorted(ends, before + block_bytes, side="right")))
        yield table.slice(start, end - start)
        start, before = end, int(ends[end - 1])
