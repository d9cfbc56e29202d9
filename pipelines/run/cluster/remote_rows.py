"""Rows of a job's source in Ray's object store: each worker gets those blocks that it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from pipelines.sources.memory.conversion import to_block
from pipelines.sources.memory.data import Block, Data, cut
from pipelines.sources.split import SPLIT_BYTES


class RemoteRows:
    """Rows of blocks that Ray keeps for as long as this is kept, or a copy of it that Ray has pickled.

    ``blocks`` are references and numbers of rows. Workers get them by one reference, since there may be many.
    """

    def __init__(self, blocks: Sequence[tuple[Any, int]]) -> None:
        references, rows = zip(*blocks, strict=True) if blocks else ((), ())
        ends = np.array([0, *accumulate(rows)], np.int64)
        self._table = ray.put((list(references), ends))

    def pieces(self, start: int, stop: int) -> Iterator[Block]:
        """See Rows; raises RayError where a block is lost."""
        references, ends = ray.get(self._table)
        for number in range(int(np.searchsorted(ends, start, side="right")) - 1, len(references)):
            first, end = int(ends[number]), int(ends[number + 1])
            if first >= stop:
                return
            block = ray.get(references[number])
            rows = block if isinstance(block, list) else to_block(block)
            yield cut(rows, max(start, first) - first, min(stop, end) - first)


def put_rows(data: Data) -> Data:
    """Put rows that this process holds into Ray's object store, in parts that are read one by one."""
    if isinstance(data.rows, RemoteRows):
        return data.for_workers(data.rows)
    rows, size = data.row_count, data.bytes
    step = max(1, rows * SPLIT_BYTES // max(size, 1))
    blocks = [
        (ray.put(_whole(piece)), len(piece))
        for start in range(0, rows, step)
        for piece in data.rows.pieces(start, min(start + step, rows))
    ]
    return data.for_workers(RemoteRows(blocks))


def _whole(block: Block) -> Block:
    # Of a slice, whose chunks may be many.
    return block.combine_chunks() if isinstance(block, pa.Table) else block
