"""A query's vectors: the query side of each model encodes it, and MUVERA folds the multivectors where the job does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedders.base import TolerantEmbedder, VectorSpec
from embedders.errors import FleetembedError, ModelNotFoundError
from embedders.families import FAMILIES
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.embed.row_embedder import RowEmbedder, query_encoder
from pipelines.errors import ConfigError
from pipelines.sinks.qdrant.points import vector_lists


class QueryEncoder:
    """Encodes queries for all the vectors of one embedding, by one call of its model.

    ``fingerprints`` are those of the collection's vectors by name, as far as the collection says them.
    """

    def __init__(self, embedding: EmbeddingConfig, fingerprints: Mapping[str, str]) -> None:
        """Raises ConfigError for settings that the model does not take."""
        self.embedding = embedding
        self._fingerprints = fingerprints
        with _as_config_error(embedding):
            # A machine that searches may be a lesser one than those that embedded.
            self._rows = RowEmbedder(embedding, {"float32_instead": True})
            self._texts = query_encoder(self._rows)

    def takes(self, query: str | Path) -> bool:
        """Whether it can encode such a query: a text, or the image at a Path."""
        return self._rows.images if isinstance(query, Path) else self._texts is not None

    def refusal(self, query: str | Path) -> str:
        """Say why it cannot encode such a query."""
        name = self.embedding.name
        if isinstance(query, Path):
            return f"{name} embeds texts: search it with a text, not with an image"
        return f"the model of {name} has no text model that shares its space: search it with an image"

    def encode(self, query: str | Path, vectors: Mapping[str, VectorSpec], names: Collection[str]) -> dict[str, Any]:
        """Encode a query for some of the embedding's vectors, as Qdrant's models hold them.

        ``vectors`` are the collection's. None stands for a query that has nothing to search with: no terms, no tokens.
        Raises ConfigError for a model that is not the one which made the vectors, or cannot have made them.
        """
        encoded = {}
        with _as_config_error(self.embedding):
            # The files of an image model need not be here where another model encodes texts.
            if isinstance(query, Path) or FAMILIES[self.embedding.card.family].embeds_queries:
                self._refuse_other_models({name: vectors[name] for name in names})
            output = self._embed(query)
            for name in names:
                column = self._rows.query_vectors(name, vectors[name].kind, output)
                self._refuse_unlike(name, column.type, vectors[name])
                encoded[name] = _searchable(vector_lists(pa.chunked_array([column]), vectors[name])[0])
        return encoded

    def _embed(self, query: str | Path) -> pa.Array:
        """Encode a query into a column of one row: what the model gives, before it is parted or folded."""
        if isinstance(query, Path):
            assert isinstance(self._rows.model, TolerantEmbedder)
            try:
                content = pa.array([query.read_bytes()], pa.large_binary())
            except OSError as error:
                raise ConfigError(f"the image {query} cannot be searched with: {error}") from None
            column, unreadable = self._rows.model.embed_arrow_and_errors(content)
            if unreadable:
                raise ConfigError(f"the image {query} cannot be searched with: {unreadable[0]}")
            return column
        assert self._texts is not None
        return self._texts.embed_queries_arrow([query])

    def _refuse_other_models(self, vectors: Mapping[str, VectorSpec]) -> None:
        known = {name: spec for name, spec in vectors.items() if name in self._fingerprints}
        if any(self._rows.fingerprint_of(name, spec.kind) != self._fingerprints[name] for name, spec in known.items()):
            raise ConfigError(
                f"the vectors of {self.embedding.name!r} were made with other model files or settings than these "
                f"({self.embedding.model_name}): a query encoded with them would find the wrong things. Use the "
                "configuration and the files that the job had, or run the job again into another collection"
            )

    def _refuse_unlike(self, name: str, kind: pa.DataType, spec: VectorSpec) -> None:
        made, held = shape(kind), shape(spec.arrow_type)
        if made != held:
            raise ConfigError(
                f"{self.embedding.model_name} makes {made}, and the collection's vector {name!r} holds {held}: it "
                "cannot have made them"
            )


@contextmanager
def _as_config_error(embedding: EmbeddingConfig) -> Iterator[None]:
    """Turn what a model says of wrong settings into a ConfigError with the embedding's name."""
    try:
        yield
    except ModelNotFoundError as error:
        raise ConfigError(f"the model of {embedding.name!r}: {error}") from None
    except FleetembedError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"the embedding {embedding.name!r}: {error}") from None


def _searchable(vector: Any) -> Any:
    """Return a query's vector, None for one without terms or tokens."""
    empty = not len(vector.indices) if hasattr(vector, "indices") else not len(vector)
    return None if empty else vector


def shape(kind: pa.DataType) -> str:
    """Say what kind of vectors a column holds, and of how many numbers."""
    if pa.types.is_struct(kind):
        return "sparse vectors"
    if pa.types.is_fixed_size_list(kind):
        return f"vectors of {kind.list_size} numbers"
    return f"multivectors of {kind.value_type.list_size} numbers"
