"""Rows that a job reads from memory, wherever they are held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

# Rows of Arrow, or of Python: a dict each, or a RowError that says why a row is none.
Block: TypeAlias = pa.Table | Sequence[Any]


class Rows(Protocol):
    """Rows in a fixed order, which can be pickled."""

    def pieces(self, start: int, stop: int) -> Iterator[Block]:
        """Yield the rows from ``start`` on, and before ``stop``, in blocks one behind the other."""


@dataclass(frozen=True, eq=False)
class Data:
    """What a job reads in the place of files.

    ``title`` is what origins of its rows begin with, ``sizes`` are rows and bytes of its blocks. ``columns`` is None
    where only rows tell which there are.
    """

    title: str
    rows: Rows
    sizes: tuple[tuple[int, int], ...] = ()
    columns: tuple[str, ...] | None = None

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return sum(rows for rows, _ in self.sizes)

    @property
    def bytes(self) -> int:
        """About how many bytes they have in memory."""
        return sum(size for _, size in self.sizes)

    def for_workers(self, rows: Rows) -> Data:
        """Leave out what only planning needs, which may be long; the same rows are held as ``rows`` says."""
        return replace(self, rows=rows, sizes=())


class HeldRows:
    """Rows that this process holds, in one block."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def pieces(self, start: int, stop: int) -> Iterator[Block]:
        """See Rows."""
        yield cut(self._block, start, stop)


def cut(block: Block, start: int, stop: int) -> Block:
    """Take rows out of a block, those of Arrow without a copy."""
    return block.slice(start, stop - start) if isinstance(block, pa.Table) else block[start:stop]
