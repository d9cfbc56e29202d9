"""One embedding of a job: its model, MUVERA behind it where the job wants that, and how both embed rows.

No row that cannot be embedded costs another: it gets an error and goes on to the dead letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedders.arrow import SPARSE_TYPE, dense_array, dense_type, number_type
from embedders.base import Embedder, LengthMeasuring, TolerantEmbedder, VectorSpec
from embedders.factory import family_options, make_embedder
from embedders.families import FAMILIES
from embedders.fingerprint import facts_digest
from embedders.muvera.muvera import Muvera
from embedders.several_vectors import OneVector, SeveralVectors
from pipelines.bisection import bisect_rows
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.rows import IMAGE_COLUMN, RowError, add_errors, is_dead, set_column

NO_ARGUMENTS: Mapping[str, Any] = {}
# A token of English text has 4 to 5 bytes, one of code or of Chinese text about 3.
BYTES_A_TOKEN = 3
# What models of pages make of an image at most.
VECTORS_AN_IMAGE = 1030


class RowEmbedder:
    """One embedding of a job at work. Nothing is loaded when it is made.

    ``runtime`` holds arguments of `embedders.model_options.Runtime`, such as threads and device.
    """

    def __init__(self, embedding: EmbeddingConfig, runtime: Mapping[str, Any] = NO_ARGUMENTS) -> None:
        self.config = embedding
        self.name, self.images = embedding.name, embedding.images
        self.model = build_embedder(embedding, runtime)

    @cached_property
    def muvera(self) -> Muvera | None:
        """What folds the model's multivectors into single vectors; raises ValueError for parameters that cannot be."""
        wanted = self.config.muvera
        if wanted is None:
            return None
        if self.config.outputs and "multivector" not in self.config.outputs:
            raise ValueError(
                f"{self.config.model_name} makes no token vectors here: add multivector to options.outputs"
            )
        model = self.model
        tokens = OneVector(model, "multivector") if isinstance(model, SeveralVectors) else model
        return Muvera.from_embedder(tokens, **wanted.parameters)

    @property
    def vectors(self) -> dict[str, VectorSpec]:
        """The vectors it gives each row, by name: one, or those of a model that gives several.

        With MUVERA the multivector is folded, and stays beside where it is kept.
        """
        specs = {self.config.vector_name(kind): spec for kind, spec in self._specs.items()}
        if self.muvera is None:
            return specs
        multivector = specs.pop(self.config.multivector_name)
        size = self.muvera.embedding_size
        number = number_type(multivector.arrow_type)
        folded = VectorSpec("dense", dense_type(size, number.to_pandas_dtype()), dim=size, distance="dot")
        kept = {self.config.multivector_name: multivector} if self.config.keeps_multivector else {}
        return {self.name: folded, **specs, **kept}

    @property
    def max_length(self) -> int | None:
        """Tokens of a text at most, above which it is cut; None for a model that knows no such limit, or of images."""
        text_model = getattr(self.model, "text_model", self.model)
        limit = None if self.images else getattr(getattr(text_model, "tokenizer", None), "max_length", None)
        return limit if isinstance(limit, int) else None

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector: the model's own, and MUVERA's parameters."""
        return self._with_muvera(self.model.fingerprint)

    def fingerprint_of(self, vector: str, kind: str) -> str:
        """Fingerprint of its vector of this name, or where none has the name, of this kind.

        The vectors of a model that gives several have each their own. Raises ValueError for a kind that it does not
        make.
        """
        if not isinstance(self.model, SeveralVectors):
            return self.fingerprint
        if self._folds(vector, kind):
            return self._with_muvera(self.model.fingerprints["multivector"])
        self._refuse_kind(kind)
        return self.model.fingerprints[kind]

    def embed(self, table: pa.Table) -> pa.Table:
        """Add the vectors' columns; dead rows, and those that fail, have null there."""
        column, errors = embed_live_rows(self.model, table, self.name, images=self.images)
        for kind in self._specs:
            table = set_column(table, self.config.vector_name(kind), self._vectors_of(kind, column))
        table = add_errors(table, errors)
        if self.muvera is None:
            return table
        multivectors = self.config.multivector_name
        table = fold_table(self.muvera, table, multivectors, self.name, self.vectors[self.name])
        return table if self.config.keeps_multivector else table.drop_columns([multivectors])

    def estimate_bytes(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Estimate the bytes of each row's multivectors, (rows,) int64; 0 where one vector a row is all it makes."""
        kinds = [spec for spec in self._specs.values() if spec.kind == "multivector"]
        a_vector = sum((spec.dim or 0) * int(number_type(spec.arrow_type).bit_width) // 8 for spec in kinds)
        if not a_vector or self.images:
            return np.full(table.num_rows, a_vector * VECTORS_AN_IMAGE, np.int64)
        lengths: npt.NDArray[np.int64] = pc.fill_null(pc.binary_length(table["text"]), 0).to_numpy().astype(np.int64)
        limit = self.config.max_length or self.config.card.max_tokens or np.iinfo(np.int32).max
        tokens: npt.NDArray[np.int64] = np.minimum(lengths // BYTES_A_TOKEN + 2, limit)
        sizes: npt.NDArray[np.int64] = tokens * a_vector
        return sizes

    def estimate_given_bytes(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Estimate the bytes of each row's multivectors as ``embed`` gives them, (rows,) int64: those folded by MUVERA.

        Like ``estimate_bytes`` by the rows' contents alone: neither errors nor what models give change it.
        """
        if self.muvera is None:
            return self.estimate_bytes(table)
        folded = self.vectors[self.name]
        a_vector = (folded.dim or 0) * int(number_type(folded.arrow_type).bit_width) // 8
        sizes: npt.NDArray[np.int64] = np.full(table.num_rows, a_vector, np.int64)
        if self.config.keeps_multivector:
            sizes += self.estimate_bytes(table)
        return sizes

    def query_vectors(self, vector: str, kind: str, column: pa.Array) -> pa.Array:
        """Take what a stored vector of this name and kind is searched with out of the model's column of queries.

        Raises ValueError for a kind that it does not make.
        """
        if self.muvera is None or not self._folds(vector, kind):
            return self._vectors_of(kind, column)
        return dense_array(self.muvera.encode_queries(self._vectors_of("multivector", column)))

    @property
    def _specs(self) -> Mapping[str, VectorSpec]:
        """What the model gives, by kind."""
        model = self.model
        return model.specs if isinstance(model, SeveralVectors) else {model.spec.kind: model.spec}

    def _vectors_of(self, kind: str, column: pa.Array) -> pa.Array:
        """The vectors of one kind in a column that the model gave; it is that where the model gives one."""
        if not isinstance(self.model, SeveralVectors):
            return column
        self._refuse_kind(kind)
        return pc.struct_field(column, kind)

    def _folds(self, vector: str, kind: str) -> bool:
        """Whether a vector of this name and kind is made by MUVERA."""
        return self.muvera is not None and vector != self.config.vector_name(kind)

    def _refuse_kind(self, kind: str) -> None:
        if kind not in self._specs:
            raise ValueError(
                f"{self.config.model_name} makes {' and '.join(self._specs)} vectors here, and no {kind} ones: choose "
                "them in options.outputs"
            )

    def _with_muvera(self, fingerprint: str) -> str:
        if self.muvera is None:
            return fingerprint
        return facts_digest({"model": fingerprint, "muvera": self.muvera.parameters})

    def scored_lengths(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Lengths that the model scores the live rows' texts with, int64; rows that it cannot embed are left out.

        Raises TypeError for a model whose weights know no length.
        """
        model = self.model
        if not isinstance(model, LengthMeasuring):
            raise TypeError(f"the weights of {self.config.model_name} do not depend on an average length")
        texts = table["text"].filter(pa.array(~is_dead(table))).combine_chunks().drop_null()
        done, _ = bisect_rows(lambda rows: model.scored_lengths(texts.slice(rows.start, len(rows))), range(len(texts)))
        return np.concatenate([np.zeros(0, np.int64), *(lengths for _, lengths in done)])


def build_embedder(embedding: EmbeddingConfig, runtime: Mapping[str, Any] = NO_ARGUMENTS) -> Embedder | SeveralVectors:
    """Make a job's embedder, not loaded yet, with the arguments of its ``runtime`` that are not None."""
    arguments: dict[str, Any] = {
        "cache_dir": embedding.cache_dir,
        "specific_model_path": embedding.path,
        "local_files_only": embedding.local_files_only,
        "precision": embedding.precision,
        "lazy_load": True,
        **embedding.options,
    }
    card = embedding.card
    optional = {name: getattr(embedding, name) for name in ("max_length", "dim", "dtype")} | dict(runtime)
    prompts = embedding.prompts
    known = "prompts" in family_options(card.family) and "prompts" not in embedding.options
    if known or not isinstance(prompts, str):
        arguments["prompts"] = prompts if isinstance(prompts, str) else prompts.model_dump()
    if {"cuda", "providers"} & embedding.options.keys():
        # The embedding's own choice of a device goes before its pool's.
        optional.pop("cuda", None)
    arguments |= {name: value for name, value in optional.items() if value is not None}
    return make_embedder(card, **arguments)


def query_encoder(rows: RowEmbedder) -> Embedder | SeveralVectors | None:
    """Find what encodes text queries for an embedding: its model, or the text model that shares an image model's space.

    None for an image model that has no such text model.
    """
    embedding, card = rows.config, rows.config.card
    if FAMILIES[card.family].embeds_queries:
        return rows.model
    text_model = card.options.get("text_model")
    if text_model is None:
        return None
    places = {"cache_dir": embedding.cache_dir, "local_files_only": embedding.local_files_only}
    return make_embedder(text_model, family="dense", specific_model_path=embedding.text_path, lazy_load=True, **places)


def embed_live_rows(
    embedder: Embedder | SeveralVectors, table: pa.Table, stage: str, *, images: bool = False
) -> tuple[pa.Array, dict[int, RowError]]:
    """Embed the live rows; returns the model's column, null at dead rows and those that fail, and errors by position.

    ``images`` tells that the model takes the rows' images and not their texts. A row without the one it takes fails.
    ``stage`` names the embedding in errors.
    """
    live = np.flatnonzero(~is_dead(table))
    content = table[IMAGE_COLUMN if images else "text"].take(live).combine_chunks()
    there = np.flatnonzero(content.is_valid().to_numpy(zero_copy_only=False))
    column, failed = embed_rows(embedder, content.take(pa.array(there)), stage)
    errors = {int(live[there[row]]): error for row, error in failed.items()}
    what = "image" if images else "text"
    lacking = RowError(stage, f"No{what.title()}", f"the row has no {what}, which {stage} embeds")
    errors |= {int(row): lacking for row in np.delete(live, there)}
    if len(there) == table.num_rows and not errors:
        # Not taken from, which would copy: token vectors of a block are gigabytes.
        return column, errors
    positions = np.full(table.num_rows, -1)
    positions[live[there]] = np.arange(len(there))
    positions[list(errors)] = -1
    return column.take(pa.array(positions, mask=positions < 0)), errors


def fold_table(muvera: Muvera, table: pa.Table, multivectors: str, name: str, spec: VectorSpec) -> pa.Table:
    """Add the column ``name`` with the fixed dimensional encodings of a column of multivectors, null where that is."""
    column = table[multivectors].combine_chunks()
    there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    tokens = column.take(pa.array(there))
    number = number_type(spec.arrow_type).to_pandas_dtype()
    errors: dict[int, RowError] = {}

    def fold(rows: range) -> pa.Array:
        some = tokens.slice(rows.start, len(rows))
        bad = muvera.find_bad_rows(some)
        good = np.delete(np.arange(len(rows)), list(bad))
        with np.errstate(over="ignore"):
            encoded = muvera.encode_documents(some.take(pa.array(good)) if bad else some).astype(number, copy=False)
        errors.update({rows.start + row: RowError(name, "NotFoldable", f"MUVERA: {why}") for row, why in bad.items()})
        if not bad:
            return dense_array(encoded)
        positions = np.full(len(rows), -1)
        positions[good] = np.arange(len(good))
        return dense_array(encoded).take(pa.array(positions, mask=positions < 0))

    done, failed = bisect_rows(fold, range(len(tokens)))
    folded = _whole_column(done, len(tokens), spec.arrow_type)
    broken = RowError(name, "NotFinite", "MUVERA: the folded vector has NaN or infinity")
    errors |= dict.fromkeys(_not_finite(folded), broken)
    errors |= {row: RowError.of(name, error) for row, error in failed.items()}
    positions = np.full(table.num_rows, -1)
    positions[there] = np.arange(len(there))
    positions[there[list(errors)]] = -1
    folded = folded.take(pa.array(positions, mask=positions < 0))
    return add_errors(set_column(table, name, folded), {int(there[row]): error for row, error in errors.items()})


def embed_rows(
    embedder: Embedder | SeveralVectors, contents: pa.Array, stage: str
) -> tuple[pa.Array, dict[int, RowError]]:
    """Embed texts or images so that one that cannot be embedded costs no other.

    A model of images tells the unreadable ones; a batch that fails otherwise is bisected. Returns the column (an entry
    a row, null for those that failed) and the errors by position. Errors of the model itself (its files, its device)
    are raised: they are no row's fault.
    """
    unreadable: dict[int, RowError] = {}

    def embed(rows: range) -> pa.Array:
        some = contents.slice(rows.start, len(rows))
        with _uncounted_if_failed(embedder):
            if not isinstance(embedder, TolerantEmbedder):
                return embedder.embed_arrow(some)
            column, errors = embedder.embed_arrow_and_errors(some)
        unreadable.update({rows.start + row: RowError.of(stage, error) for row, error in errors.items()})
        return column

    done, failed = bisect_rows(embed, range(len(contents)))
    column = _whole_column(done, len(contents), _column_type(embedder))
    broken = RowError(stage, "NotFinite", "the model gave a vector with NaN or infinity")
    raised = {row: RowError.of(stage, error) for row, error in failed.items()}
    return column, {**dict.fromkeys(_not_finite(column), broken), **unreadable, **raised}


@contextmanager
def _uncounted_if_failed(embedder: Embedder | SeveralVectors) -> Iterator[None]:
    """Take back what a model counted of a batch that failed: its halves are counted when they are embedded."""
    stats = embedder.stats
    before = asdict(stats)
    try:
        yield
    except BaseException:
        for name, value in before.items():
            setattr(stats, name, value)
        raise


def _whole_column(done: list[tuple[range, pa.Array]], rows: int, kind: pa.DataType) -> pa.Array:
    """Put parts of a column together, with nulls in the place of rows that are in none."""
    if len(done) == 1 and len(done[0][0]) == rows:
        # Not joined, which would copy: token vectors of a block are gigabytes.
        return done[0][1]
    parts, reached = [], 0
    for there, part in done:
        parts += [pa.nulls(there.start - reached, kind), part]
        reached = there.stop
    return pa.concat_arrays([*parts, pa.nulls(rows - reached, kind)])


def _column_type(embedder: Embedder | SeveralVectors) -> pa.DataType:
    if not isinstance(embedder, SeveralVectors):
        return embedder.spec.arrow_type
    return pa.struct([(kind, spec.arrow_type) for kind, spec in embedder.specs.items()])


def _not_finite(column: pa.Array) -> list[int]:
    """Rows whose vectors hold NaN or infinity, whatever the kind of the vectors, or one of several does."""
    if pa.types.is_struct(column.type) and column.type != SPARSE_TYPE:
        found = (row for field in column.type for row in _not_finite(pc.struct_field(column, field.name)))
        return sorted(set(found))
    valid = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    numbers = column.drop_null()
    if column.type == SPARSE_TYPE:
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
