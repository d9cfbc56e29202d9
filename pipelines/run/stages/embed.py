"""Adds a column a vector: one stage for all embeddings of a pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedders.base import VectorSpec
from embedders.factory import is_heavy
from embedders.length_counts import LONGEST
from embedders.token_cache import TokenCache
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.embed.job_models import refuse_other_model
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.hashing import hash_of_all
from pipelines.rows import IMAGE_COLUMN, RowError, add_errors, is_dead, spread
from pipelines.run.packing import BLOCK_BYTES, cut, join
from pipelines.run.placement.pools import Pool
from pipelines.run.placement.threads import share_tokenizing
from pipelines.run.stages.held import HELD_COLUMN, codes_of, has_vectors, needs_models
from pipelines.run.stages.moved import TOKENS_A_ROW
from pipelines.run.stages.stage import Resources, Work
from pipelines.run.tally import BLOCKS, CACHED, FIRST_BLOCK, LENGTH, Counter, Figures, figures_of


@dataclass(frozen=True)
class EmbedStage:
    """Adds the columns of one or several embeddings; a model is loaded when the first row arrives that needs it.

    Rows of whose text some sink has the vectors pass by the models: they have null there.

    One whose fingerprint is another than that in ``fingerprints``, by the embedding's name, raises ModelFilesError.
    ``vectors`` are the job's, by name: with them known, a block that passes by as a whole loads no model.
    ``cache`` is the place of vectors that were made before, for the neural networks among the embeddings.
    A block whose multivectors are estimated to have more than ``block_bytes`` is embedded and given in pieces.
    """

    pool: Pool
    add: Counter
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    block_bytes: int = BLOCK_BYTES
    vectors: Mapping[str, VectorSpec] = field(default_factory=dict)
    cache: str | None = None
    keeps: bool = True

    @property
    def takes(self) -> frozenset[str]:
        """Texts or images, and what errors and crashes are told by."""
        return frozenset(
            ["id", "error", HELD_COLUMN, *(IMAGE_COLUMN if one.images else "text" for one in self.pool.embeddings)]
        )

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
        tokens = TokenCache()
        share_tokenizing(self.resources)
        embedders = [self._embedder(one, tokens) for one in self.pool.embeddings]
        unchecked = dict(self.fingerprints)
        # Loaded before the first row reaches them, so that the figures of embedding hold no start-up. With a
        # cache, it may be that no model is needed.
        unloaded = list(embedders) if self.cache is None else []

        def check() -> None:
            for embedder in embedders:
                if expected := unchecked.pop(embedder.name, None):
                    refuse_other_model(embedder, expected)

        def load() -> None:
            self.add(FIRST_BLOCK, {})
            while unloaded:
                unloaded.pop().model.load()

        def embed(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
            for table in tables:
                # By the codes alone, which are the same when a task is run again: where it is cut depends on it.
                if self.vectors and has_vectors(codes_of(table)).all():
                    yield from self._pass_by(embedders, table, check)
                    continue
                check()
                if unloaded and _reaches_models(table):
                    load()
                for number, piece in enumerate(self._pieces(embedders, table)):
                    # The first was counted when its block was begun.
                    if number:
                        self._count_block()
                    yield piece

        yield embed

    def _embedder(self, embedding: EmbeddingConfig, tokens: TokenCache) -> RowEmbedder:
        runtime = {**self.pool.runtime(embedding), "token_cache": tokens}
        if self.cache is None or not is_heavy(embedding.card):
            return RowEmbedder(embedding, runtime)
        # Imported by need: few jobs have a cache.
        from pipelines.embed.cached_rows import CachedRowEmbedder

        return CachedRowEmbedder(embedding, runtime, self.cache)

    def _pieces(self, embedders: Sequence[RowEmbedder], table: pa.Table) -> Iterator[pa.Table]:
        """Embed a block, in pieces where its multivectors would take too much, and join those that MUVERA makes small.

        A block whose worker was lost must come in the same pieces again, since only those that are missing are taken:
        where it is cut and joined is a matter of the rows' contents, and not of errors, which may pass.
        """
        # A block whose worker dies of it is counted too. One that no model gets does not begin a stage.
        reached = _reaches_models(table)
        if reached:
            self._count_block()
        sizes = _sum((one.estimate_bytes(table) for one in embedders), table.num_rows)
        given = _sum((one.estimate_given_bytes(table) for one in embedders), table.num_rows)
        pieces = (self._embed_all(embedders, piece) for piece in cut(table, sizes, self.block_bytes))
        yield from join(pieces, given, self.block_bytes)
        if not reached:
            self._count_block()

    def _pass_by(
        self, embedders: Sequence[RowEmbedder], table: pa.Table, check: Callable[[], None]
    ) -> Iterator[pa.Table]:
        """Give a block that no model has to see, in pieces for which vectors of so many bytes may be copied later.

        What a row was to bring, and does not, when its task is run again, the models make.
        """
        specs = {name: spec for name, spec in self.vectors.items() if name in self.gives}
        wide = sum((spec.dim or 0) * TOKENS_A_ROW * 4 for spec in specs.values() if spec.kind == "multivector")
        for piece in cut(table, np.full(table.num_rows, wide, np.int64), self.block_bytes):
            if _reaches_models(piece):
                check()
                yield self._embed_all(embedders, piece)
            else:
                for name, spec in specs.items():
                    piece = piece.append_column(name, pa.nulls(piece.num_rows, spec.arrow_type))
                yield piece
            self._count_block()

    def _count_block(self) -> None:
        self.add(figures_of(self.pool.embeddings[0].name), {BLOCKS: 1})

    def _embed_all(self, embedders: Sequence[RowEmbedder], table: pa.Table) -> pa.Table:
        rows = np.flatnonzero(needs_models(table))
        # Not taken from, which would copy, where all of them are to be embedded.
        some = table if len(rows) == table.num_rows else table.take(rows)
        for embedder in embedders:
            some = self._embed(embedder, some)
        if len(rows) == table.num_rows:
            return some
        dead = np.flatnonzero(is_dead(some))
        reasons = some["error"].take(pa.array(dead)).to_pylist()
        errors = {int(rows[at]): RowError(**error) for at, error in zip(dead, reasons, strict=True)}
        table = add_errors(table, errors)
        for name in some.column_names[table.num_columns :]:
            table = table.append_column(name, spread(some[name], rows, table.num_rows))
        return table

    def _embed(self, embedder: RowEmbedder, table: pa.Table) -> pa.Table:
        started = time.perf_counter()
        before, cached = asdict(embedder.model.stats), getattr(embedder, "cached", None)
        if not is_dead(table).all():
            self.add(figures_of(embedder.name), {})
        if embedder.images:
            table = self._without_crashes(embedder.name, table)
        table = embedder.embed(table)
        after = asdict(embedder.model.stats)
        counted = {name: value - before[name] for name, value in after.items() if name != "rows"}
        counted |= _lengths(counted.pop("length_counts"))
        if cached is not None:
            counted[CACHED] = getattr(embedder, "cached", cached) - cached
        rows = int((~is_dead(table)).sum())
        self.add(figures_of(embedder.name), {**counted, "rows": rows, "seconds": time.perf_counter() - started})
        return table

    def _without_crashes(self, name: str, table: pa.Table) -> pa.Table:
        """Find images that crash the decoder, in a block that a worker has died of before."""
        block = hash_of_all(pc.fill_null(table["id"], ""))
        if not self.add.begin(f"{name} {block}"):
            return table
        # Imported by need: text workers have nothing to do with images.
        from embedders.images.isolation import crashing_images

        crashes = crashing_images(table[IMAGE_COLUMN].to_pylist())
        return add_errors(table, {row: RowError(name, "DecoderCrash", why) for row, why in crashes.items()})


def _lengths(counts: npt.NDArray[np.int64]) -> Figures:
    """Name the bins of ``embedders.length_counts`` that have texts, so that they add up as other figures do."""
    return {f"{LENGTH}{LONGEST[number]}": int(counts[number]) for number in np.flatnonzero(counts)}


def _reaches_models(table: pa.Table) -> bool:
    return bool((needs_models(table) & ~is_dead(table)).any())


def _sum(sizes: Iterable[npt.NDArray[np.int64]], rows: int) -> npt.NDArray[np.int64]:
    return sum(sizes, np.zeros(rows, np.int64))
