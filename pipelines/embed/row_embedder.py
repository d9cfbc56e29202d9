"""One embedding of a job: its model, MUVERA behind it where the job wants that, and how both are put to rows.

No row that cannot be embedded costs another: it gets an error and goes on to the dead letters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedders.arrow import dense_array, dense_type, number_type
from embedders.base import Embedder, LengthMeasuring, TolerantEmbedder, VectorSpec
from embedders.errors import FleetembedError
from embedders.factory import family_options, make_embedder
from embedders.fingerprint import facts_digest
from embedders.muvera.muvera import Muvera
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.rows import IMAGE_COLUMN, RowError, add_errors, is_dead, set_column

NO_ARGUMENTS: Mapping[str, Any] = {}


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
        return Muvera.from_embedder(self.model, **wanted.parameters)

    @property
    def vectors(self) -> dict[str, VectorSpec]:
        """The vectors it gives each row, by name: one, or with MUVERA the multivector beside, where it is kept."""
        spec = self.model.spec
        if self.muvera is None:
            return {self.name: spec}
        size = self.muvera.embedding_size
        number = number_type(spec.arrow_type)
        folded = VectorSpec("dense", dense_type(size, number.to_pandas_dtype()), dim=size, distance="dot")
        kept = {self.config.multivector_name: spec} if self.config.keeps_multivector else {}
        return {self.name: folded, **kept}

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector: the model's own, and MUVERA's parameters."""
        if self.muvera is None:
            return self.model.fingerprint
        return facts_digest({"model": self.model.fingerprint, "muvera": self.muvera.parameters})

    def embed(self, table: pa.Table) -> pa.Table:
        """Add the vectors' columns; dead rows, and those that fail, have null there."""
        if self.muvera is None:
            return embed_table(self.model, table, self.name, images=self.images)
        column = self.config.multivector_name
        table = embed_table(self.model, table, column, images=self.images, stage=self.name)
        table = fold_table(self.muvera, table, column, self.name, self.vectors[self.name])
        return table if self.config.keeps_multivector else table.drop_columns([column])

    def scored_lengths(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Lengths that the model scores the live rows' texts with, int64; rows that it cannot embed are left out.

        Raises TypeError for a model whose weights know no length.
        """
        model = self.model
        if not isinstance(model, LengthMeasuring):
            raise TypeError(f"the weights of {self.config.model_name} do not depend on an average length")
        texts = table["text"].filter(pa.array(~is_dead(table))).combine_chunks().drop_null()
        columns, _ = _embed_or_split(
            lambda some: pa.array(model.scored_lengths(some), pa.int64()), pa.int64(), texts, 0, self.name
        )
        lengths: npt.NDArray[np.int64] = pa.chunked_array(columns, pa.int64()).drop_null().to_numpy()
        return lengths


def build_embedder(embedding: EmbeddingConfig, runtime: Mapping[str, Any] = NO_ARGUMENTS) -> Embedder:
    """Make a job's embedder, not loaded yet, with the arguments of its ``runtime`` that are not None."""
    arguments: dict[str, Any] = {
        "cache_dir": embedding.cache_dir,
        "specific_model_path": embedding.path,
        "local_files_only": embedding.local_files_only,
        "lazy_load": True,
        **embedding.options,
    }
    card = embedding.card
    optional = {name: getattr(embedding, name) for name in ("max_length", "dim", "dtype")} | dict(runtime)
    prompts = embedding.prompts
    known = "prompts" in family_options(card.family) and "prompts" not in embedding.options
    if known or not isinstance(prompts, str):
        arguments["prompts"] = prompts if isinstance(prompts, str) else prompts.model_dump()
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


def embed_table(
    embedder: Embedder, table: pa.Table, name: str, *, images: bool = False, stage: str | None = None
) -> pa.Table:
    """Add the column ``name`` with the vectors of the live rows; dead rows, and those that fail, have null there.

    ``images`` tells that the model takes the rows' images and not their texts. A row without the one it takes fails.
    ``stage`` names the embedding in errors where the column has another name.
    """
    stage = stage or name
    live = np.flatnonzero(~is_dead(table))
    content = table[IMAGE_COLUMN if images else "text"].take(live).combine_chunks()
    there = np.flatnonzero(content.is_valid().to_numpy(zero_copy_only=False))
    column, failed = embed_rows(embedder, content.take(pa.array(there)), stage)
    errors = {int(live[there[row]]): error for row, error in failed.items()}
    what = "image" if images else "text"
    lacking = RowError(stage, f"No{what.title()}", f"the row has no {what}, which {stage} embeds")
    errors |= {int(row): lacking for row in np.delete(live, there)}
    positions = np.full(table.num_rows, -1)
    positions[live[there]] = np.arange(len(there))
    positions[list(errors)] = -1
    column = column.take(pa.array(positions, mask=positions < 0))
    return add_errors(set_column(table, name, column), errors)


def fold_table(muvera: Muvera, table: pa.Table, multivectors: str, name: str, spec: VectorSpec) -> pa.Table:
    """Add the column ``name`` with the fixed dimensional encodings of a column of multivectors, null where that is."""
    column = table[multivectors].combine_chunks()
    there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    tokens = column.take(pa.array(there))
    bad = muvera.find_bad_rows(tokens)
    good = np.delete(np.arange(len(there)), list(bad))
    encoded = muvera.encode_documents(tokens.take(pa.array(good)) if bad else tokens)
    number = number_type(spec.arrow_type).to_pandas_dtype()
    positions = np.full(table.num_rows, -1)
    positions[there[good]] = np.arange(len(good))
    folded = dense_array(encoded.astype(number, copy=False)).take(pa.array(positions, mask=positions < 0))
    errors = {int(there[row]): RowError(name, "NotFoldable", f"MUVERA: {why}") for row, why in bad.items()}
    return add_errors(set_column(table, name, folded), errors)


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
