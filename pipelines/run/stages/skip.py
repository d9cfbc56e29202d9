"""Drops what every sink holds unchanged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.bisection import bisect_rows
from pipelines.rows import document_shares, is_dead
from pipelines.run.stages.read import ON_READERS
from pipelines.run.stages.stage import Resources, Work
from pipelines.run.tally import REREAD_DOCUMENTS, REREAD_ROWS, Counter
from pipelines.sinks.base import Sink, SinkWriter, connected


@dataclass(frozen=True)
class SkipStage:
    """Drops the live rows that every sink holds unchanged.

    A task that is run again drops what it dropped the first time, and keeps the rest, of which sinks hold some by now.
    """

    sinks: Sequence[Sink]
    add: Counter
    name: str = "skip"
    takes: frozenset[str] = frozenset(["id", "content_hash", "chunk_count", "error"])
    gives: frozenset[str] = frozenset()
    keeps: bool = True
    resources: Resources = ON_READERS

    @contextmanager
    def open(self) -> Iterator[Work]:
        """See Stage."""
        with connected(self.sinks) as writers:
            yield lambda tables: (self._skip(number, table, writers) for number, table in enumerate(tables))

    def _skip(self, number: int, table: pa.Table, writers: Sequence[SinkWriter]) -> pa.Table:
        started = time.perf_counter()
        live = np.flatnonzero(~is_dead(table))
        ids = table["id"].take(live).to_pylist()
        hashes = table["content_hash"].take(live).to_pylist()
        held = np.zeros(0, bool)
        if ids:
            held = np.logical_and.reduce([_held(writer, ids, hashes) for writer in writers])
        keep = np.ones(table.num_rows, dtype=bool)
        keep[live] = ~held
        decided, new = self.add.decide(f"{self.name} {number}", np.packbits(keep).tobytes())
        keep = np.unpackbits(np.frombuffer(decided, np.uint8), count=table.num_rows).astype(bool)
        shares = document_shares(table)
        seconds = {"seconds": time.perf_counter() - started}
        if new:
            figures = {"rows": int((~keep).sum()), "documents": float(shares[~keep].sum())}
            self.add(self.name, {**figures, **seconds})
        else:
            self.add(self.name, {REREAD_DOCUMENTS: float(shares.sum()), REREAD_ROWS: table.num_rows, **seconds})
        return table.filter(keep)


def _held(writer: SinkWriter, ids: list[str], hashes: list[str]) -> npt.NDArray[np.bool_]:
    """Mark what a sink holds unchanged; a row that it fails at is not held, so that the writing of it decides."""
    done, _ = bisect_rows(
        lambda rows: writer.held(ids[rows.start : rows.stop], hashes[rows.start : rows.stop]), range(len(ids))
    )
    held = np.zeros(len(ids), bool)
    for rows, marks in done:
        held[rows.start : rows.stop] = marks
    return held
