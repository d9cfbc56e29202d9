"""Gathers rows into blocks, which are embedded and written whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipelines.run.packing import cut_as_decided, regroup
from pipelines.run.stages.read import ON_READERS
from pipelines.run.stages.stage import Resources, Work
from pipelines.run.tally import Counter


@dataclass(frozen=True)
class BlockStage:
    """Gathers rows into blocks of at most ``block_rows`` rows and about 64 MB, which are embedded and written whole.

    A task that is run again cuts where it cut the first time, also where an image could not be fetched in between.
    """

    block_rows: int
    add: Counter
    name: str = "block"
    takes: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset()
    keeps: bool = True
    resources: Resources = ON_READERS

    @contextmanager
    def open(self) -> Iterator[Work]:
        """See Stage."""
        yield lambda tables: cut_as_decided(regroup(tables, self.block_rows), self._decide)

    def _decide(self, number: int, rows: int) -> int:
        return int(self.add.decide(f"{self.name} {number}", str(rows).encode())[0])
