"""Asks the sinks what they hold, and drops what every one of them holds unchanged."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.base import VectorSpec
from pipelines.bisection import bisect_rows
from pipelines.hashing import hash_of_all
from pipelines.rows import document_shares, is_dead
from pipelines.run.stages.held import ASKED, HELD_COLUMN, Codes, has_vectors, pack_codes, unpack_codes, with_codes
from pipelines.run.stages.moved import MOVED_COLUMN, find_moved, rows_at_once, with_moved
from pipelines.run.stages.read import ON_READERS
from pipelines.run.stages.stage import Resources, Work
from pipelines.run.tally import REREAD_DOCUMENTS, REREAD_ROWS, Counter
from pipelines.sinks.base import Held, Sink, SinkWriter, connected


@dataclass(frozen=True)
class SkipStage:
    """Drops the live rows that every sink holds unchanged, and says of the others what each sink holds of them.

    A task that is run again drops what it dropped the first time, and says of the rest what it said then, though sinks
    hold more by now.

    Rows that all sinks lack take along the vectors that one of ``moved``, numbers of sinks, holds of their texts: a
    column a vector of the job's ``vectors``. A row that does so, and finds none when its task is run again, stays.
    """

    sinks: Sequence[Sink]
    add: Counter
    moved: Sequence[int] = ()
    vectors: Mapping[str, VectorSpec] = field(default_factory=dict)
    name: str = "skip"
    takes: frozenset[str] = frozenset([*ASKED, "chunk_count", "error"])
    keeps: bool = True
    resources: Resources = ON_READERS

    @property
    def gives(self) -> frozenset[str]:
        """What sinks hold of rows, and vectors that travel with them."""
        return frozenset([HELD_COLUMN, *([MOVED_COLUMN] if self.moved else [])])

    @contextmanager
    def open(self) -> Iterator[Work]:
        """See Stage."""
        with connected(self.sinks) as writers:
            yield lambda tables: (
                self._skip(number, table, writers) for number, table in enumerate(self._pieces(tables))
            )

    def _pieces(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Cut tables, by rows alone, to those whose vectors may be in memory together."""
        for table in tables:
            size = rows_at_once(self.vectors) if self.moved else max(1, table.num_rows)
            yield from (table.slice(start, size) for start in range(0, max(1, table.num_rows), size))

    def _skip(self, number: int, table: pa.Table, writers: Sequence[SinkWriter]) -> pa.Table:
        started = time.perf_counter()
        live = np.flatnonzero(~is_dead(table))
        asked = table.select(ASKED).take(live)
        codes = np.full((table.num_rows, len(writers)), Held.LACKS, np.uint8)
        for sink, writer in enumerate(writers):
            codes[live, sink] = _held(writer, asked)
        at, found = self._find_moved(table, live[~has_vectors(codes[live])], writers)
        codes[at] = Held.MOVED
        codes, new = self._decide(number, asked, codes)
        if not new:
            at, found = self._find_moved(table, np.flatnonzero((codes == Held.MOVED).any(axis=1)), writers)
        if self.moved:
            table = with_moved(table, at, found)
        keep = ~(codes == Held.SAME).all(axis=1)
        shares = document_shares(table)
        seconds = {"seconds": time.perf_counter() - started}
        if new:
            figures = {"rows": int((~keep).sum()), "documents": float(shares[~keep].sum())}
            self.add(self.name, {**figures, **seconds})
        else:
            self.add(self.name, {REREAD_DOCUMENTS: float(shares.sum()), REREAD_ROWS: table.num_rows, **seconds})
        return with_codes(table, codes).filter(pa.array(keep))

    def _find_moved(
        self, table: pa.Table, rows: npt.NDArray[np.int64], writers: Sequence[SinkWriter]
    ) -> tuple[npt.NDArray[np.int64], pa.Table]:
        """Fetch the vectors of those among ``rows``, positions, that moved; returns the positions of these.

        Without ``moved``, none of them did.
        """
        if not self.moved:
            return rows[:0], table.slice(0, 0)
        asked = table.select(ASKED).take(rows)
        at, found = find_moved(asked, [writers[number] for number in self.moved], self.vectors)
        return rows[at], found

    def _decide(self, number: int, asked: pa.Table, codes: Codes) -> tuple[Codes, bool]:
        """Take what was decided for this table the first time, or ``codes``; tells whether it is the first time.

        A live source may give another table then, whose rows are all kept: to drop any would bring those that come
        after them into places that were taken already.
        """
        rows = hash_of_all(asked["id"], asked["content_hash"]).encode()
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
