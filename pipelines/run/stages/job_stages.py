"""The stages of a job: read, skip what is held, gather into blocks, embed, write.

No stage raises for a bad row: the row gets an error and goes on to the dead letters.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from embedders.token_cache import TokenCache
from pipelines.bisection import bisect_rows
from pipelines.config.job import JobConfig
from pipelines.embed.documents import name_chunks, read_chunks
from pipelines.embed.job_models import TOKENIZER, refuse_other_model
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.errors import WorkerError
from pipelines.rows import IDENTIFIED_SCHEMA, IMAGE_COLUMN, RowError, add_errors, is_dead
from pipelines.run.packing import BLOCK_BYTES, cut, cut_as_decided, regroup
from pipelines.run.placement.nodes import READ_CPUS
from pipelines.run.placement.pools import Pool
from pipelines.run.placement.sizes import SUPPORT_CPUS
from pipelines.run.scan import MarkedSplit
from pipelines.run.stages.stage import Resources, Stage, Work, check_columns
from pipelines.run.tally import BLOCKS, DEAD_LETTERS, REREAD_DOCUMENTS, REREAD_ROWS, Counter, figures_of
from pipelines.sinks.base import Sink, SinkWriter, WriteResult
from pipelines.sinks.dead_letters import write_dead
from pipelines.urls import local_path

# Splits to read, pickled: what a job's first stage takes.
TASK_COLUMN = "task"
RECEIPT_SCHEMA = pa.schema(
    [
        ("documents", pa.float64()),
        ("embedded", pa.int64()),
        ("written", pa.int64()),
        ("dead", pa.int64()),
        ("samples", pa.list_(pa.string())),
    ]
)
SAMPLES_A_BLOCK = 3
SAMPLE_COLUMNS = ["document_id", "origin", "error"]
ROW_COLUMNS = frozenset(IDENTIFIED_SCHEMA.names)
# Those that run before the first model share a worker.
ON_READERS = Resources(cpus=READ_CPUS)


def job_stages(
    config: JobConfig,
    pools: Sequence[Pool],
    sinks: Sequence[Sink],
    run_id: str,
    add: Counter,
    fingerprints: Mapping[str, str] | None = None,
) -> list[Stage]:
    """List the stages of a job, from splits to receipts of what the sinks acknowledged; the sinks are open.

    ``fingerprints`` are what the job's models must be, wherever they run: see ``job_fingerprints``.
    """
    prints = fingerprints or {}
    stages: list[Stage] = [
        ReadStage(config, add, prints.get(TOKENIZER)),
        SkipStage(sinks, add),
        BlockStage(config.compute.block_rows, add),
    ]
    stages += [EmbedStage(pool, add, prints) for pool in pools]
    # Workers are in folders of their own, where a relative path would be another one.
    dead_letters = local_path(config.dead_letters) or config.dead_letters
    stages.append(WriteStage(sinks, dead_letters, run_id, config.vector_names, add))
    check_columns(stages, frozenset([TASK_COLUMN]))
    return stages


@dataclass(frozen=True)
class ReadStage:
    """Reads splits, each with its rows that repeat an id, as identified rows of their chunks.

    Gives tables made from at most ``compute.block_rows`` documents. Raises ConfigError where the tokenizer that cuts
    chunks has not the digest ``tokenizer``, if one is given.
    """

    config: JobConfig
    add: Counter
    tokenizer: str | None = None
    name: str = "read"
    takes: frozenset[str] = frozenset([TASK_COLUMN])
    gives: frozenset[str] = ROW_COLUMNS
    keeps: bool = False
    resources: Resources = ON_READERS

    @contextmanager
    def open(self) -> Iterator[Work]:
        """See Stage."""
        yield self._read

    def _read(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        tasks = (task for table in tables for task in table[TASK_COLUMN].to_pylist())
        splits = (split for task in tasks for split in self._begin(task))
        started = time.perf_counter()
        for documents, chunks in read_chunks(splits, self.config, tokenizer_digest=self.tokenizer):
            rows = name_chunks(chunks, self.config)
            self.add("read", {"rows": documents, "chunks": rows.num_rows, "seconds": time.perf_counter() - started})
            yield rows
            started = time.perf_counter()

    def _begin(self, task: bytes) -> list[MarkedSplit]:
        """Unpickle a task's splits; raises WorkerError where too many workers died before they were through."""
        splits: list[MarkedSplit] = pickle.loads(task)
        died = self.add.begin(f"read {_short_name(task)}")
        if died > self.config.compute.max_retries:
            raise WorkerError(
                f"workers that read {splits[0][0].name} and {len(splits) - 1:,} other splits died {died} times: out of "
                "memory, a crash in native code, or lost nodes (give workers more memory, look whether the file is "
                "damaged, or raise compute.max_retries where nodes come and go); what was written stays, run the job "
                "again to go on"
            )
        return splits


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
        with _connected(self.sinks) as writers:
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


@dataclass(frozen=True)
class EmbedStage:
    """Adds the columns of one or several embeddings; a model is loaded when the first row arrives.

    One whose fingerprint is another than that in ``fingerprints``, by the embedding's name, raises ModelFilesError.
    A block whose multivectors are estimated to have more than ``block_bytes`` is embedded and given in pieces.
    """

    pool: Pool
    add: Counter
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    block_bytes: int = BLOCK_BYTES
    keeps: bool = True

    @property
    def takes(self) -> frozenset[str]:
        """Texts or images, and what errors and crashes are told by."""
        return frozenset(["id", "error", *(IMAGE_COLUMN if one.images else "text" for one in self.pool.embeddings)])

    @property
    def gives(self) -> frozenset[str]:
        """A column a vector."""
        return frozenset(name for one in self.pool.embeddings for name in one.vector_names)

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.pool.name

    @property
    def resources(self) -> Resources:
        """The pool's resources."""
        return self.pool.resources

    @contextmanager
    def open(self) -> Iterator[Work]:
        """See Stage."""
        # Embeddings of one tokenizer, limit and prompt share a block's tokens.
        shared = {"token_cache": TokenCache()}
        embedders = [RowEmbedder(one, {**self.pool.runtime(one), **shared}) for one in self.pool.embeddings]
        unchecked = dict(self.fingerprints)

        def embed(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
            for table in tables:
                for embedder in embedders:
                    if expected := unchecked.pop(embedder.name, None):
                        refuse_other_model(embedder, expected)
                for number, piece in enumerate(self._pieces(embedders, table)):
                    # The first was counted when its block was begun.
                    if number:
                        self._count_block()
                    yield piece

        yield embed

    def _pieces(self, embedders: Sequence[RowEmbedder], table: pa.Table) -> Iterator[pa.Table]:
        """Embed a block, in pieces where its multivectors would take too much; those that turn out small are joined."""
        # A block whose worker dies of it is counted too. One that no model gets does not begin a stage.
        reached = not is_dead(table).all()
        if reached:
            self._count_block()
        sizes = sum((one.estimate_bytes(table) for one in embedders), np.zeros(table.num_rows, np.int64))
        pieces = (self._embed_all(embedders, piece) for piece in cut(table, sizes, self.block_bytes))
        yield from regroup(pieces, table.num_rows, self.block_bytes)
        if not reached:
            self._count_block()

    def _count_block(self) -> None:
        self.add(figures_of(self.pool.embeddings[0].name), {BLOCKS: 1})

    def _embed_all(self, embedders: Sequence[RowEmbedder], table: pa.Table) -> pa.Table:
        for embedder in embedders:
            table = self._embed(embedder, table)
        return table

    def _embed(self, embedder: RowEmbedder, table: pa.Table) -> pa.Table:
        started = time.perf_counter()
        before = asdict(embedder.model.stats)
        if not is_dead(table).all():
            self.add(figures_of(embedder.name), {})
        if embedder.images:
            table = self._without_crashes(embedder.name, table)
        table = embedder.embed(table)
        after = asdict(embedder.model.stats)
        counted = {name: value - before[name] for name, value in after.items() if name != "rows"}
        rows = int((~is_dead(table)).sum())
        self.add(figures_of(embedder.name), {**counted, "rows": rows, "seconds": time.perf_counter() - started})
        return table

    def _without_crashes(self, name: str, table: pa.Table) -> pa.Table:
        """Find images that crash the decoder, in a block that a worker has died of before."""
        block = _short_name("\n".join(map(str, table["id"].to_pylist())).encode())
        if not self.add.begin(f"{name} {block}"):
            return table
        # Imported by need: text workers have nothing to do with images.
        from embedders.images.isolation import crashing_images

        crashes = crashing_images(table[IMAGE_COLUMN].to_pylist())
        return add_errors(table, {row: RowError(name, "DecoderCrash", why) for row, why in crashes.items()})


@dataclass(frozen=True)
class WriteStage:
    """Writes live rows to every sink and dead ones to the dead letters; gives receipts of what was acknowledged.

    A row that one sink rejects is dead, and not offered to the sinks after it. Images are kept nowhere.
    """

    sinks: Sequence[Sink]
    dead_letters: str
    run_id: str
    vectors: Sequence[str]
    add: Counter
    name: str = "write"
    gives: frozenset[str] = frozenset(RECEIPT_SCHEMA.names)
    keeps: bool = False

    @property
    def takes(self) -> frozenset[str]:
        """All of a row, with its vectors."""
        return ROW_COLUMNS | frozenset(self.vectors)

    @property
    def resources(self) -> Resources:
        """As many writers as the sink that takes most of them, where one does not keep up."""
        most = max(sink.workers for sink in self.sinks)
        return Resources(workers=most, least=1, cpus=SUPPORT_CPUS, actors=True)

    @contextmanager
    def open(self) -> Iterator[Work]:
        """See Stage."""
        with _connected(self.sinks) as writers:
            yield lambda tables: (self._write(table, writers) for table in tables)

    def _write(self, table: pa.Table, writers: Sequence[SinkWriter]) -> pa.Table:
        table = table.drop_columns([IMAGE_COLUMN])
        embedded = int((~is_dead(table)).sum())
        self.add(_figures_of_sink(self.sinks[0]), {"offered": embedded})
        for sink, writer in zip(self.sinks, writers, strict=True):
            started = time.perf_counter()
            live = np.flatnonzero(~is_dead(table))
            result = write_rows(writer, table.take(live))
            table = add_errors(table, {int(live[row]): error for row, error in result.rejected.items()})
            figures = {"rows": result.written, "retries": result.retries, "seconds": time.perf_counter() - started}
            self.add(_figures_of_sink(sink), figures)
        dead = table.filter(pa.array(is_dead(table)))
        if dead.num_rows:
            started = time.perf_counter()
            write_dead(self.dead_letters, self.run_id, dead)
            self.add(DEAD_LETTERS, {"rows": dead.num_rows, "seconds": time.perf_counter() - started})
        receipt = {
            "documents": float(document_shares(table).sum()),
            "embedded": embedded,
            "written": table.num_rows - dead.num_rows,
            "dead": dead.num_rows,
            "samples": [_describe(row) for row in dead.slice(0, SAMPLES_A_BLOCK).select(SAMPLE_COLUMNS).to_pylist()],
        }
        return pa.Table.from_pylist([receipt], schema=RECEIPT_SCHEMA)


def _short_name(data: bytes) -> str:
    """A short name for a piece of work."""
    return str(xxhash.xxh3_64_hexdigest(data))


@contextmanager
def _connected(sinks: Sequence[Sink]) -> Iterator[list[SinkWriter]]:
    """Connect to every sink, for as long as a worker works."""
    with ExitStack() as opened:
        yield [opened.enter_context(closing(sink.connect())) for sink in sinks]


def _held(writer: SinkWriter, ids: list[str], hashes: list[str]) -> npt.NDArray[np.bool_]:
    """Mark what a sink holds unchanged; a row that it fails at is not held, so that the writing of it decides."""
    done, _ = bisect_rows(
        lambda rows: writer.held(ids[rows.start : rows.stop], hashes[rows.start : rows.stop]), range(len(ids))
    )
    held = np.zeros(len(ids), bool)
    for rows, marks in done:
        held[rows.start : rows.stop] = marks
    return held


def write_rows(writer: SinkWriter, table: pa.Table) -> WriteResult:
    """Write rows to a sink; those that it fails at alone are rejected, as those that it refuses."""
    done, failed = bisect_rows(lambda rows: writer.write(table.slice(rows.start, len(rows))), range(table.num_rows))
    return WriteResult(
        written=sum(result.written for _, result in done),
        rejected={
            **{rows.start + row: error for rows, result in done for row, error in result.rejected.items()},
            **{row: RowError.of("sink", error) for row, error in failed.items()},
        },
        retries=sum(result.retries for _, result in done),
    )


def document_shares(table: pa.Table) -> npt.NDArray[np.float64]:
    """Part of a document that each row is: one chunk of four is a quarter. Progress counts documents with it."""
    counts: npt.NDArray[np.int32] = pc.fill_null(table["chunk_count"], 1).to_numpy()
    return np.reciprocal(np.maximum(counts, 1).astype(np.float64))


def _figures_of_sink(sink: Sink) -> str:
    return f"write {sink.name.partition(':')[0]}"


def _describe(row: dict[str, Any]) -> str:
    error = row["error"]
    name = f"document {row['document_id']!r} " if row["document_id"] else ""
    return f"{name}({row['origin']}): {error['stage']}: {error['type']}: {error['message']}"
