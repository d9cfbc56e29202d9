"""A query's vectors: each model encodes it with its query side, and MUVERA folds what it is to fold."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedders.base import VectorSpec
from embedders.errors import FleetembedError, ImageError, ModelNotFoundError
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.embed.row_embedder import RowEmbedder, query_encoder
from pipelines.errors import ConfigError
from pipelines.sinks.qdrant.points import vector_lists


class QueryEncoder:
    """Encodes queries for the vectors of one embedding.

    ``made_by`` are the fingerprints of what made the collection's vectors by name, as far as they are known.
    """

    def __init__(self, embedding: EmbeddingConfig, made_by: Mapping[str, str]) -> None:
        """Raises ConfigError for settings that the model does not take."""
        self.embedding = embedding
        self._made_by = made_by
        with _as_config_error(embedding):
            self._rows = RowEmbedder(embedding)
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

        None stands for a query that has nothing to search with: no terms, no tokens. Raises ConfigError for a model
        that is not the one which made the vectors, or cannot have made them.
        """
        with _as_config_error(self.embedding):
            return self._encode(query, vectors, names)

    def _encode(self, query: str | Path, vectors: Mapping[str, VectorSpec], names: Collection[str]) -> dict[str, Any]:
        if isinstance(query, Path) or not self._shares_space:
            self._refuse_other_models({name: vectors[name] for name in names})
        column, encoded = self._column(query), {}
        for name in names:
            own = self._rows.query_vectors(name, vectors[name].kind, column)
            self._refuse_unlike(name, own.type, vectors[name])
            encoded[name] = _searchable(vector_lists(pa.chunked_array([own]), vectors[name])[0])
        return encoded

    def _column(self, query: str | Path) -> pa.Array:
        if isinstance(query, Path):
            try:
                return self._rows.model.embed_arrow(pa.array([query.read_bytes()], pa.large_binary()))
            except (OSError, ImageError) as error:
                raise ConfigError(f"the image {query} cannot be searched with: {error}") from None
        assert self._texts is not None
        return self._texts.embed_queries_arrow([query])

    @cached_property
    def _shares_space(self) -> bool:
        """Whether texts are encoded by another model than the documents were: then that one's files may be away."""
        return self.embedding.card.family == "image"

    def _refuse_other_models(self, vectors: Mapping[str, VectorSpec]) -> None:
        known = {name: spec for name, spec in vectors.items() if name in self._made_by}
        if any(self._rows.fingerprint_of(name, spec.kind) != self._made_by[name] for name, spec in known.items()):
            raise ConfigError(
                f"the vectors of {self.embedding.name!r} were made with other model files or settings than these "
                f"({self.embedding.model_name}): a query encoded with them would find the wrong things. Use the "
                "configuration and the files that the job had, or run the job again into another collection"
            )

    def _refuse_unlike(self, name: str, own: pa.DataType, there: VectorSpec) -> None:
        found, wanted = shape(own), shape(there.arrow_type)
        if found != wanted:
            raise ConfigError(
                f"{self.embedding.model_name} makes {found}, and the collection's vector {name!r} holds {wanted}: it "
                "cannot have made them"
            )


@contextmanager
def _as_config_error(embedding: EmbeddingConfig) -> Iterator[None]:
    """Let what is wrong with an embedding's settings be the caller's error, with its name."""
    try:
        yield
    except ModelNotFoundError as error:
        raise ConfigError(f"the model of {embedding.name!r}: {error}") from None
    except FleetembedError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"the embedding {embedding.name!r}: {error}") from None


def _searchable(vector: Any) -> Any:
    """A query's vector, None where there is nothing in it."""
    empty = not len(vector.indices) if hasattr(vector, "indices") else not len(vector)
    return None if empty else vector


def shape(kind: pa.DataType) -> str:
    """Say what kind of vectors a column holds, and of how many numbers."""
    if pa.types.is_struct(kind):
        return "sparse vectors"
    if pa.types.is_fixed_size_list(kind):
        return f"vectors of {kind.list_size} numbers"
    return f"multivectors of {kind.value_type.list_size} numbers"
