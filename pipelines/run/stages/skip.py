"""Asks the sinks what they hold, and drops what every one of them holds unchanged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.bisection import bisect_rows
from pipelines.identity import keys64
from pipelines.rows import document_shares, is_dead
from pipelines.run.stages.held import ASKED, HELD_COLUMN, Codes, pack_codes, unpack_codes, with_codes
from pipelines.run.stages.read import ON_READERS
from pipelines.run.stages.stage import Resources, Work
from pipelines.run.tally import REREAD_DOCUMENTS, REREAD_ROWS, Counter, short_name
from pipelines.sinks.base import Held, Sink, SinkWriter, connected


@dataclass(frozen=True)
class SkipStage:
    """Drops the live rows that every sink holds unchanged, and says of the others what each sink holds of them.

    A task that is run again drops what it dropped the first time, and says of the rest what it said then, though sinks
    hold more by now.
    """

    sinks: Sequence[Sink]
    add: Counter
    name: str = "skip"
    takes: frozenset[str] = frozenset([*ASKED, "chunk_count", "error"])
    gives: frozenset[str] = frozenset([HELD_COLUMN])
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
        asked = table.select(ASKED).take(live)
        codes = np.full((table.num_rows, len(writers)), Held.LACKS, np.uint8)
        for sink, writer in enumerate(writers):
            codes[live, sink] = _held(writer, asked)
        codes, new = self._decide(number, asked, codes)
        keep = ~(codes == Held.SAME).all(axis=1)
        shares = document_shares(table)
        seconds = {"seconds": time.perf_counter() - started}
        if new:
            figures = {"rows": int((~keep).sum()), "documents": float(shares[~keep].sum())}
            self.add(self.name, {**figures, **seconds})
        else:
            self.add(self.name, {REREAD_DOCUMENTS: float(shares.sum()), REREAD_ROWS: table.num_rows, **seconds})
        return with_codes(table, codes).filter(pa.array(keep))

    def _decide(self, number: int, asked: pa.Table, codes: Codes) -> tuple[Codes, bool]:
        """Take what was decided for this table the first time, or ``codes``; tells whether it is the first time.

        A live source may give another table then, whose rows are all kept: to drop any would bring those that come
        after them into places that were taken already.
        """
        rows = short_name(keys64(asked["id"].to_pylist(), asked["content_hash"].to_pylist()).tobytes()).encode()
        decided, new = self.add.decide(f"{self.name} {number}", rows + pack_codes(codes))
        if not decided.startswith(rows):
            return np.full(codes.shape, Held.LACKS, np.uint8), new
        return unpack_codes(decided[len(rows) :], codes.shape), new


def _held(writer: SinkWriter, rows: pa.Table) -> Codes:
    """Ask what a sink holds of rows; one that it fails at it lacks, so that the writing of it decides."""
    done, _ = bisect_rows(lambda some: writer.held(rows.slice(some.start, len(some))), range(rows.num_rows))
    codes = np.full(rows.num_rows, Held.LACKS, np.uint8)
    for some, answer in done:
        codes[some.start : some.stop] = answer
    return codes
