"""Rows whose vectors are in the cache take them from there; the others are embedded, and kept for the next time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config.embeddings import EmbeddingConfig
from pipelines.embed.embedding_cache import EmbeddingCache, content_keys
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.rows import IMAGE_COLUMN, is_dead, set_column, spread


class CachedRowEmbedder(RowEmbedder):
    """A RowEmbedder that takes vectors of texts or images that were embedded before from the cache at ``place``.

    ``cached`` counts the rows that did so. What embeds nothing loads no model.
    """

    def __init__(self, embedding: EmbeddingConfig, runtime: Mapping[str, Any], place: str) -> None:
        super().__init__(embedding, runtime)
        self._place = place
        self.cached = 0

    @cached_property
    def _cache(self) -> EmbeddingCache:
        return EmbeddingCache(self._place, self.fingerprint, self.vectors)

    def embed(self, table: pa.Table) -> pa.Table:
        """Add the vectors' columns; dead rows, and those that fail, have null there."""
        contents = table[IMAGE_COLUMN if self.images else "text"]
        asked = np.flatnonzero(~is_dead(table) & contents.is_valid().to_numpy())
        keys = content_keys(contents.take(pa.array(asked)).combine_chunks())
        at, found = self._cache.find(keys)
        self.cached += len(at)
        if not len(at):
            # As it is, since to put it together again would copy it.
            made = super().embed(table)
            self._keep(made, asked, keys)
            return made
        rest = np.delete(np.arange(table.num_rows), asked[at])
        made = super().embed(table.take(pa.array(rest)))
        missed = np.delete(np.arange(len(asked)), at)
        self._keep(made, np.searchsorted(rest, asked[missed]), keys.take(pa.array(missed)))
        given = table.num_columns
        order = np.argsort(np.concatenate([asked[at], rest]), kind="stable")
        for name in made.column_names[given:]:
            column = pa.chunked_array([*found[name].chunks, *made[name].chunks], made[name].type)
            table = set_column(table, name, column.combine_chunks().take(pa.array(order)))
        return set_column(table, "error", spread(made["error"].combine_chunks(), rest, table.num_rows))

    def _keep(self, made: pa.Table, rows: npt.NDArray[np.intp], keys: pa.Array) -> None:
        """Put the vectors of rows into the cache, but for those that have an error, or not all vectors."""
        some = made.take(pa.array(rows))
        whole = ~is_dead(some)
        for name in self.vectors:
            whole &= some[name].is_valid().to_numpy()
        if whole.any():
            self._cache.add(keys.filter(pa.array(whole)), some.filter(pa.array(whole)))
