"""Writes live rows to the sinks and dead ones to the dead letters, and gives receipts of that."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.bisection import bisect_rows
from pipelines.rows import IDENTIFIED_SCHEMA, IMAGE_COLUMN, RowError, add_errors, document_shares, is_dead
from pipelines.run.placement.sizes import SUPPORT_CPUS
from pipelines.run.stages.held import HELD_COLUMN, Codes, codes_of, copy_vectors, is_whole, lacking, needs_models
from pipelines.run.stages.stage import Resources, Work
from pipelines.run.tally import DEAD_LETTERS, Counter, Figures
from pipelines.sinks.base import Held, Sink, SinkWriter, WriteResult, connected
from pipelines.sinks.dead_letters import write_dead
from pipelines.sinks.folder_mark import FolderMark
from pipelines.sources.duplicates import document_keys

RECEIPT_SCHEMA = pa.schema(
    [
        ("documents", pa.float64()),
        ("embedded", pa.int64()),
        ("copied", pa.int64()),
        ("payload_only", pa.int64()),
        ("written", pa.int64()),
        ("dead", pa.int64()),
        ("samples", pa.list_(pa.string())),
        (
            "reasons",
            pa.list_(
                pa.struct(
                    [("stage", pa.string()), ("type", pa.string()), ("rows", pa.int64()), ("sample", pa.string())]
                )
            ),
        ),
        ("document_keys", pa.list_(pa.uint64())),
    ]
)
SAMPLES_A_BLOCK = 3
SAMPLE_COLUMNS = ["document_id", "origin", "error"]


@dataclass(frozen=True)
class WriteStage:
    """Writes to every sink what it lacks of live rows, and dead rows to the dead letters; gives receipts of all.

    A sink that lacks a row's vectors gets them from the models, or from the first sink that has them; one that has
    them gets the rest alone. Rows that are ``brought`` have their vectors from the source, and each sink that has not
    all of a row is given them. A row that one sink rejects is dead, and not offered to the sinks after it. Images are
    kept nowhere. Raises SinkError for dead rows where another folder of that name is seen than the one with ``mark``.
    With ``tells_documents``, receipts have the keys of all documents whose live rows came here.
    """

    sinks: Sequence[Sink]
    dead_letters: str
    run_id: str
    vectors: Sequence[str]
    add: Counter
    mark: FolderMark | None = None
    brought: bool = False
    tells_documents: bool = False
    name: str = "write"
    gives: frozenset[str] = frozenset(RECEIPT_SCHEMA.names)
    keeps: bool = False

    @property
    def takes(self) -> frozenset[str]:
        """All of a row, with its vectors."""
        return frozenset([*IDENTIFIED_SCHEMA.names, HELD_COLUMN, *self.vectors])

    @property
    def resources(self) -> Resources:
        """As many writers as the sink that takes most of them, where one does not keep up."""
        most = max(sink.workers for sink in self.sinks)
        at_once = all(sink.connects_at_once for sink in self.sinks)
        return Resources(workers=most, least=1, cpus=SUPPORT_CPUS, actors=True, opens_at_once=at_once)

    @contextmanager
    def open(self) -> Iterator[Work]:
        """See Stage."""
        with connected(self.sinks) as writers:
            yield lambda tables: (self._write(table, writers) for table in tables)

    def _write(self, table: pa.Table, writers: Sequence[SinkWriter]) -> pa.Table:
        codes = codes_of(table)
        if self.brought:
            codes = np.where(codes == Held.SAME, codes, Held.LACKS)
        there, lacked = ~needs_models(table) & (not self.brought), lacking(codes)
        table = table.drop_columns([IMAGE_COLUMN])
        embedded = int((~is_dead(table) & ~there).sum())
        keys = _document_keys(table) if self.tells_documents else None
        self.add(_figures_of_sink(self.sinks[0]), {"offered": embedded})
        table = table if self.brought else copy_vectors(table, writers, self.vectors)
        for number, (sink, writer) in enumerate(zip(self.sinks, writers, strict=True)):
            table = self._write_to(sink, writer, table, codes[:, number], there)
        live = ~is_dead(table)
        dead = table.filter(pa.array(is_dead(table)))
        if dead.num_rows:
            started = time.perf_counter()
            if self.mark is not None:
                self.mark.refuse_unseen()
            write_dead(self.dead_letters, self.run_id, dead)
            self.add(DEAD_LETTERS, {"rows": dead.num_rows, "seconds": time.perf_counter() - started})
        receipt = {
            "documents": float(document_shares(table).sum()),
            "embedded": embedded,
            "copied": int((live & there & lacked).sum()),
            "payload_only": int((live & there & ~lacked).sum()),
            "written": table.num_rows - dead.num_rows,
            "dead": dead.num_rows,
            "samples": [_describe(row) for row in dead.slice(0, SAMPLES_A_BLOCK).select(SAMPLE_COLUMNS).to_pylist()],
            "reasons": list(_reasons(dead)) if dead.num_rows else [],
            "document_keys": keys,
        }
        return pa.Table.from_pylist([receipt], schema=RECEIPT_SCHEMA)

    def _write_to(
        self, sink: Sink, writer: SinkWriter, table: pa.Table, codes: Codes, there: npt.NDArray[np.bool_]
    ) -> pa.Table:
        """Write what a sink lacks of the live rows, as its ``codes`` (rows,) say; gives the table with its errors.

        ``there`` marks the rows whose vectors neither a model nor the source made.
        """
        started = time.perf_counter()
        live = ~is_dead(table)
        whole, payloads = (np.flatnonzero(live & those) for those in (is_whole(codes), codes == Held.VECTORS))
        results = [(whole, write_rows(writer.write, table.take(whole)))]
        results += [(payloads, write_rows(writer.update, table.drop_columns(self.vectors).take(payloads)))]
        for rows, result in results:
            table = add_errors(table, {int(rows[row]): error for row, error in result.rejected.items()})
        figures: Figures = {
            "rows": sum(result.written for _, result in results),
            "copied": int((~is_dead(table.take(whole)) & there[whole]).sum()),
            "payload_only": results[1][1].written,
            "retries": sum(result.retries for _, result in results),
            "seconds": time.perf_counter() - started,
        }
        self.add(_figures_of_sink(sink), figures)
        return table


def write_rows(write: Callable[[pa.Table], WriteResult], table: pa.Table) -> WriteResult:
    """Write rows to a sink; those that it fails at alone are rejected, as those that it refuses."""
    done, failed = bisect_rows(lambda rows: write(table.slice(rows.start, len(rows))), range(table.num_rows))
    return WriteResult(
        written=sum(result.written for _, result in done),
        rejected={
            **{rows.start + row: error for rows, result in done for row, error in result.rejected.items()},
            **{row: RowError.of("sink", error) for row, error in failed.items()},
        },
        retries=sum(result.retries for _, result in done),
    )


def _figures_of_sink(sink: Sink) -> str:
    return f"write {sink.name.partition(':')[0]}"


def _document_keys(table: pa.Table) -> npt.NDArray[np.uint64]:
    """Keys of the documents of live rows, each once."""
    return document_keys(table["document_id"].filter(pa.array(~is_dead(table))).unique())


def _reasons(dead: pa.Table) -> Iterator[dict[str, Any]]:
    """Count dead rows by the stage and the type of their errors, with the first row of each."""
    errors = dead["error"].combine_chunks()
    names = list(zip(*(pc.struct_field(errors, name).to_pylist() for name in ("stage", "type")), strict=True))
    for (stage, kind), rows in Counts(names).items():
        (first,) = dead.slice(names.index((stage, kind)), 1).select(SAMPLE_COLUMNS).to_pylist()
        yield {"stage": stage, "type": kind, "rows": rows, "sample": _describe(first)}


def _describe(row: dict[str, Any]) -> str:
    error = row["error"]
    name = f"document {row['document_id']!r} " if row["document_id"] else ""
    return f"{name}({row['origin']}): {error['stage']}: {error['type']}: {error['message']}"
