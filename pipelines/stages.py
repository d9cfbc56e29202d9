"""What each Ray worker does with a block of rows: read, skip, embed, write.

No stage raises for a bad row: the row gets an error and goes on to the dead letters.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from embedders.base import Embedder, TolerantEmbedder
from embedders.errors import FleetembedError
from embedders.factory import family_options, make_embedder
from embedders.image_isolation import crashing_images
from pipelines.chunking import chunk_table, load_tokenizer
from pipelines.config import JobConfig
from pipelines.config_models import EmbeddingConfig
from pipelines.packing import pack, regroup
from pipelines.preflight import Placement
from pipelines.schema import IMAGE_COLUMN, RowError, add_errors, identify, is_dead, set_column
from pipelines.sinks.base import Sink
from pipelines.sinks.dead_letters import write_dead
from pipelines.sources import read_split
from pipelines.tally import AddFigures, Counter

RECEIPT_SCHEMA = pa.schema(
    [("documents", pa.float64()), ("written", pa.int64()), ("dead", pa.int64()), ("samples", pa.list_(pa.string()))]
)
SAMPLES_A_BLOCK = 3
SAMPLE_COLUMNS = ["document_id", "origin", "error"]


def build_embedder(embedding: EmbeddingConfig, placement: Placement | None = None) -> Embedder:
    """Make a job's embedder, not loaded yet; ``placement`` tells threads, device and token budget."""
    arguments: dict[str, Any] = {
        "cache_dir": embedding.cache_dir,
        "specific_model_path": embedding.path,
        "local_files_only": embedding.local_files_only,
        "lazy_load": True,
        **embedding.options,
    }
    card = embedding.card
    optional: dict[str, Any] = {name: getattr(embedding, name) for name in ("max_length", "dim", "dtype")}
    prompts = embedding.prompts
    known = "prompts" in family_options(card.family) and "prompts" not in embedding.options
    if known or not isinstance(prompts, str):
        arguments["prompts"] = prompts if isinstance(prompts, str) else prompts.model_dump()
    if placement is not None:
        optional |= {"threads": placement.threads, "token_budget": placement.token_budget}
        arguments["cuda"] = placement.gpus > 0
    arguments |= {name: value for name, value in optional.items() if value is not None}
    return make_embedder(card, **arguments)


def build_query_encoder(embedding: EmbeddingConfig) -> Embedder | None:
    """Make what encodes text queries for an embedding: its own model, or the text model that shares an image model's

    space; None for an image model that has none.
    """
    card = embedding.card
    if card.family != "image":
        return build_embedder(embedding)
    text_model = card.options.get("text_model")
    if text_model is None:
        return None
    places = {"cache_dir": embedding.cache_dir, "local_files_only": embedding.local_files_only}
    return make_embedder(text_model, family="dense", specific_model_path=embedding.text_path, lazy_load=True, **places)


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
        self._images = embedding.images
        self._embedder = build_embedder(embedding, placement)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Embed the live rows of one table."""
        started = time.perf_counter()
        before = asdict(self._embedder.stats)
        if not is_dead(table).all():
            self._add(self._name, {})
        if self._images:
            table = self._without_crashes(table)
        table = embed_table(self._embedder, table, self._name, images=self._images)
        counted = {name: value - before[name] for name, value in asdict(self._embedder.stats).items() if name != "rows"}
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


def embed_table(embedder: Embedder, table: pa.Table, name: str, *, images: bool = False) -> pa.Table:
    """Add the column ``name`` with the vectors of the live rows; dead rows, and those that fail, have null there.

    ``images`` tells that the model takes the rows' images and not their texts. A row without the one it takes fails.
    """
    live = np.flatnonzero(~is_dead(table))
    content = table[IMAGE_COLUMN if images else "text"].take(live).combine_chunks()
    there = np.flatnonzero(content.is_valid().to_numpy(zero_copy_only=False))
    column, failed = embed_rows(embedder, content.take(pa.array(there)), name)
    errors = {int(live[there[row]]): error for row, error in failed.items()}
    what = "image" if images else "text"
    lacking = RowError(name, f"No{what.title()}", f"the row has no {what}, which {name} embeds")
    errors |= {int(row): lacking for row in np.delete(live, there)}
    positions = np.full(table.num_rows, -1)
    positions[live[there]] = np.arange(len(there))
    positions[list(errors)] = -1
    column = column.take(pa.array(positions, mask=positions < 0))
    return add_errors(set_column(table, name, column), errors)


def embed_rows(embedder: Embedder, contents: pa.Array, stage: str) -> tuple[pa.Array, dict[int, RowError]]:
    """Embed texts or images so that one that cannot be embedded costs no other.

    A model of images tells the unreadable ones; of texts, a failing batch is split down to the row. Returns the column
    (an entry a row, null for those that failed) and the errors by position. Errors of the model itself (its files, its
    device) are raised: they are no row's fault.
    """
    if isinstance(embedder, TolerantEmbedder):
        column, unreadable = embedder.embed_arrow_and_errors(contents)
        errors = {row: RowError.of(stage, error) for row, error in unreadable.items()}
    else:
        columns, errors = _embed_or_split(embedder.embed_arrow, embedder.spec.arrow_type, contents, 0, stage)
        column = pa.concat_arrays(columns) if columns else pa.nulls(0, embedder.spec.arrow_type)
    broken = [row for row in _not_finite(column) if row not in errors]
    errors |= {row: RowError(stage, "NotFinite", "the model gave a vector with NaN or infinity") for row in broken}
    return column, errors


def _embed_or_split(
    embed: Callable[[pa.Array], pa.Array], kind: pa.DataType, texts: pa.Array, first: int, stage: str
) -> tuple[list[pa.Array], dict[int, RowError]]:
    if not len(texts):
        return [], {}
    try:
        return [embed(texts)], {}
    except FleetembedError:
        raise
    except Exception as error:
        if len(texts) == 1:
            return [pa.nulls(1, kind)], {first: RowError.of(stage, error)}
    half = len(texts) // 2
    left, left_errors = _embed_or_split(embed, kind, texts.slice(0, half), first, stage)
    right, right_errors = _embed_or_split(embed, kind, texts.slice(half), first + half, stage)
    return left + right, left_errors | right_errors


def _not_finite(column: pa.Array) -> list[int]:
    """Rows whose vectors hold NaN or infinity, whatever the kind of the vectors."""
    valid = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    numbers = column.drop_null()
    if pa.types.is_struct(numbers.type):
        numbers = pc.struct_field(numbers, "values")
    levels = []
    while isinstance(numbers, pa.ListArray | pa.FixedSizeListArray):
        levels.append(pc.list_value_length(numbers).to_numpy(zero_copy_only=False))
        numbers = numbers.flatten()
    broken = np.flatnonzero(~np.isfinite(numbers.to_numpy(zero_copy_only=False)))
    # From the numbers outwards to the rows they belong to.
    for lengths in reversed(levels):
        broken = np.unique(np.searchsorted(np.cumsum(lengths), broken, side="right"))
    return [int(row) for row in valid[broken]]


def document_shares(table: pa.Table) -> npt.NDArray[np.float64]:
    """Part of a document that each row is: one chunk of four is a quarter. Progress counts documents with it."""
    counts: npt.NDArray[np.int32] = pc.fill_null(table["chunk_count"], 1).to_numpy()
    return np.reciprocal(np.maximum(counts, 1).astype(np.float64))


def _describe(row: dict[str, Any]) -> str:
    error = row["error"]
    name = f"document {row['document_id']!r} " if row["document_id"] else ""
    return f"{name}({row['origin']}): {error['stage']}: {error['type']}: {error['message']}"
