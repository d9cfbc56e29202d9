"""What each Ray worker does with a block of rows: read, skip, embed, write.

No stage raises for a bad row: the row gets an error and goes on to the dead letters.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from embedders.images.isolation import crashing_images
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.job import JobConfig
from pipelines.embed.chunking import chunk_table, load_tokenizer
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.identity import identify
from pipelines.rows import IMAGE_COLUMN, RowError, add_errors, is_dead
from pipelines.run.packing import pack, regroup
from pipelines.run.placement import Placement
from pipelines.run.tally import AddFigures, Counter
from pipelines.sinks.base import Sink
from pipelines.sinks.dead_letters import write_dead
from pipelines.sources import read_split

RECEIPT_SCHEMA = pa.schema(
    [("documents", pa.float64()), ("written", pa.int64()), ("dead", pa.int64()), ("samples", pa.list_(pa.string()))]
)
SAMPLES_A_BLOCK = 3
SAMPLE_COLUMNS = ["document_id", "origin", "error"]


def read_rows(batch: pa.Table, *, config: JobConfig, add: AddFigures) -> Iterator[pa.Table]:
    """Read the splits pickled in the column ``task``, each with its repeated rows, as identified chunk rows.

    Yields tables made from at most ``compute.block_rows`` documents.
    """
    tokenizer = load_tokenizer(config.chunking.tokenizer) if config.chunking else None
    for task in batch["task"].to_pylist():
        for split, repeats in pickle.loads(task):
            started = time.perf_counter()
            for table in read_split(split, config.source, block_rows=config.compute.block_rows, repeats=repeats):
                chunks = chunk_table(table, config.chunking, tokenizer)
                rows = identify(chunks, config.corpus, chunked=config.chunking is not None)
                figures = {"rows": table.num_rows, "chunks": rows.num_rows, "seconds": time.perf_counter() - started}
                add("read", figures)
                yield rows
                started = time.perf_counter()


def read_packed(batch: pa.Table, *, config: JobConfig, add: AddFigures) -> Iterator[pa.Table]:
    """Read as ``read_rows`` does, into tables that are packed, and so large that few are needed (see packing.py)."""
    for table in regroup(read_rows(batch, config=config, add=add), config.compute.block_rows):
        yield pack(table)


def skip_held(table: pa.Table, *, sinks: Sequence[Sink], add: AddFigures) -> pa.Table:
    """Drop the live rows that every sink holds unchanged."""
    started = time.perf_counter()
    live = np.flatnonzero(~is_dead(table))
    ids = table["id"].take(live).to_pylist()
    hashes = table["content_hash"].take(live).to_pylist()
    held = np.zeros(0, bool)
    if ids:
        held = np.logical_and.reduce([sink.connect().held(ids, hashes) for sink in sinks])
    keep = np.ones(table.num_rows, dtype=bool)
    keep[live] = ~held
    figures = {"rows": int(held.sum()), "seconds": time.perf_counter() - started}
    add("skip", {**figures, "documents": float(document_shares(table.select(["chunk_count"]).filter(~keep)).sum())})
    return table.filter(keep)


class EmbedStage:
    """Adds one embedding's column; the model is loaded when the first row arrives."""

    def __init__(self, embedding: EmbeddingConfig, placement: Placement, add: Counter) -> None:
        self._name, self._add = embedding.name, add
        self._embedder = RowEmbedder(embedding, placement)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Embed the live rows of one table."""
        started = time.perf_counter()
        before = asdict(self._embedder.model.stats)
        if not is_dead(table).all():
            self._add(self._name, {})
        if self._embedder.images:
            table = self._without_crashes(table)
        table = self._embedder.embed(table)
        after = asdict(self._embedder.model.stats)
        counted = {name: value - before[name] for name, value in after.items() if name != "rows"}
        self._add(
            self._name, {**counted, "rows": int((~is_dead(table)).sum()), "seconds": time.perf_counter() - started}
        )
        return table

    def _without_crashes(self, table: pa.Table) -> pa.Table:
        """Find images that crash the decoder, in a block that a worker has died of before."""
        block = xxhash.xxh3_64_hexdigest("\n".join(map(str, table["id"].to_pylist())).encode())
        if not self._add.begin(f"{self._name} {block}"):
            return table
        crashes = crashing_images(table[IMAGE_COLUMN].to_pylist())
        return add_errors(table, {row: RowError(self._name, "DecoderCrash", why) for row, why in crashes.items()})


def write_rows(table: pa.Table, *, sinks: Sequence[Sink], dead_letters: str, run_id: str, add: AddFigures) -> pa.Table:
    """Write live rows to every sink and dead ones to the dead letters; returns a receipt of what was acknowledged.

    A row that one sink rejects is dead, and not offered to the sinks after it. Images are kept nowhere.
    """
    table = table.drop_columns([IMAGE_COLUMN])
    for sink in sinks:
        started = time.perf_counter()
        live = np.flatnonzero(~is_dead(table))
        result = sink.connect().write(table.take(live))
        table = add_errors(table, {int(live[row]): error for row, error in result.rejected.items()})
        figures = {"rows": result.written, "retries": result.retries, "seconds": time.perf_counter() - started}
        add(f"write {sink.name.partition(':')[0]}", figures)
    dead = table.filter(pa.array(is_dead(table)))
    if dead.num_rows:
        write_dead(dead_letters, run_id, dead)
    receipt = {
        "documents": float(document_shares(table).sum()),
        "written": table.num_rows - dead.num_rows,
        "dead": dead.num_rows,
        "samples": [_describe(row) for row in dead.slice(0, SAMPLES_A_BLOCK).select(SAMPLE_COLUMNS).to_pylist()],
    }
    return pa.Table.from_pylist([receipt], schema=RECEIPT_SCHEMA)


def document_shares(table: pa.Table) -> npt.NDArray[np.float64]:
    """Part of a document that each row is: one chunk of four is a quarter. Progress counts documents with it."""
    counts: npt.NDArray[np.int32] = pc.fill_null(table["chunk_count"], 1).to_numpy()
    return np.reciprocal(np.maximum(counts, 1).astype(np.float64))


def _describe(row: dict[str, Any]) -> str:
    error = row["error"]
    name = f"document {row['document_id']!r} " if row["document_id"] else ""
    return f"{name}({row['origin']}): {error['stage']}: {error['type']}: {error['message']}"
