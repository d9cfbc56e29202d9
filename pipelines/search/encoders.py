"""A query's vectors: the query side of each model encodes it, and MUVERA folds the multivectors where the job does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedders.arrow import dense_array
from embedders.base import VectorSpec
from embedders.errors import FleetembedError, ImageError, ModelNotFoundError
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.embed.row_embedder import RowEmbedder, build_query_encoder
from pipelines.errors import ConfigError
from pipelines.sinks.qdrant.points import vector_lists


class QueryEncoder:
    """Encodes queries for all the vectors of one embedding, by one call of its model.

    ``fingerprint`` is that of the collection's vectors, None where the collection does not say it.
    """

    def __init__(self, embedding: EmbeddingConfig, fingerprint: str | None = None) -> None:
        """Raises ConfigError for settings that the model does not take."""
        self.embedding = embedding
        self._fingerprint = fingerprint
        with _as_config_error(embedding):
            self._rows = RowEmbedder(embedding)
            self._texts = build_query_encoder(embedding)

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
            for name, column in self._columns(query, names).items():
                self._refuse_unlike(name, column.type, vectors[name])
                encoded[name] = _searchable(vector_lists(pa.chunked_array([column]), vectors[name])[0])
        return encoded

    def _columns(self, query: str | Path, names: Collection[str]) -> dict[str, pa.Array]:
        """Encode a query into a column of one row for each vector."""
        column, muvera = self._embed(query), self._rows.muvera
        if muvera is None:
            return dict.fromkeys(names, column)
        multivector = self.embedding.multivector_name
        return {name: column if name == multivector else dense_array(muvera.encode_queries(column)) for name in names}

    def _embed(self, query: str | Path) -> pa.Array:
        if isinstance(query, Path):
            self._refuse_other_models()
            try:
                return self._rows.model.embed_arrow(pa.array([query.read_bytes()], pa.large_binary()))
            except (OSError, ImageError) as error:
                raise ConfigError(f"the image {query} cannot be searched with: {error}") from None
        assert self._texts is not None
        if not self._has_text_model:
            self._refuse_other_models()
        return self._texts.embed_queries_arrow([query])

    @cached_property
    def _has_text_model(self) -> bool:
        """Whether another model than that of the documents encodes texts; the documents' may have no files here."""
        return self.embedding.card.family == "image"

    def _refuse_other_models(self) -> None:
        if self._fingerprint is not None and self._model_fingerprint != self._fingerprint:
            raise ConfigError(
                f"the vectors of {self.embedding.name!r} were made with other model files or settings than these "
                f"({self.embedding.model_name}): a query encoded with them would find the wrong things. Use the "
                "configuration and the files that the job had, or run the job again into another collection"
            )

    @cached_property
    def _model_fingerprint(self) -> str:
        return self._rows.fingerprint

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
