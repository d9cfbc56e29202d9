"""Models that give several vectors of each text in one call, and one of these vectors as a model of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import dense_array, multivector_array
from embedders.base import EmbedStats, Texts, VectorSpec
from embedders.fingerprint import facts_digest
from embedders.prompts import Use
from embedders.texts import text_list
from embedders.token_vectors import TokenVectors

# Of many texts: dense ones as a matrix (texts, dim), sparse ones as a column of SPARSE_TYPE.
Vectors: TypeAlias = "npt.NDArray[np.floating] | TokenVectors | pa.Array"


class SeveralVectors(ABC):
    """A model whose graph gives vectors of several kinds of each text in one call, ready to embed.

    What `embedders.base.Embedder` says holds here too, but a column is a struct with a field a vector, named by the
    vector's kind: such columns are cut, joined and taken from as any others. A class and no protocol, since asking
    whether an object meets a protocol reads its properties, and fingerprints read gigabytes.

    ``kinds`` are those of the vectors that are made.
    """

    kinds: tuple[str, ...]

    @property
    @abstractmethod
    def stats(self) -> EmbedStats:
        """Counters since the model was made."""

    @property
    @abstractmethod
    def specs(self) -> Mapping[str, VectorSpec]:
        """Kind, type and dimension of each vector that is made, by its kind."""

    @property
    @abstractmethod
    def fingerprints(self) -> Mapping[str, str]:
        """Fingerprint of each vector that is made, by its kind: the same, whichever others are made."""

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over the fingerprints of all vectors that are made."""
        return facts_digest(dict(self.fingerprints))

    @abstractmethod
    def load(self) -> None:
        """Load everything now rather than at the first text; raises ModelFilesError for files that do not fit."""

    @abstractmethod
    def token_count(self, texts: Texts) -> int:
        """Sum of the texts' tokens."""

    @abstractmethod
    def embed_each(self, texts: list[str], *, use: Use = "passage", max_rows: int | None = None) -> dict[str, Vectors]:
        """Embed texts; returns their vectors by kind, in order. One model call gets at most ``max_rows`` texts."""

    def embed_arrow(self, texts: Texts) -> pa.StructArray:
        """Embed documents as a column with a field a vector, of the type in ``specs``.

        Raises on the first text that cannot be embedded; the caller splits the batch to find it.
        """
        return self._column(texts, "passage")

    def embed_queries_arrow(self, texts: Texts) -> pa.StructArray:
        """Embed queries, with the query side of the model."""
        return self._column(texts, "query")

    def _column(self, texts: Texts, use: Use) -> pa.StructArray:
        columns = {kind: vector_column(some) for kind, some in self.embed_each(text_list(texts), use=use).items()}
        return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


class OneVector:
    """One vector of a model that gives several; meets `embedders.base.Embedder`.

    Make the model so that it gives no others: what it gives beside is thrown away.
    """

    def __init__(self, model: SeveralVectors, kind: str) -> None:
        self.model, self.kind = model, kind

    @property
    def stats(self) -> EmbedStats:
        """Counters since the model was made."""
        return self.model.stats

    @property
    def spec(self) -> VectorSpec:
        """Kind, type and dimension of the column."""
        return self.model.specs[self.kind]

    @property
    def dim(self) -> int:
        """Numbers in a vector, or in a token's."""
        return self.spec.dim or 0

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector; see Embedder."""
        return self.model.fingerprints[self.kind]

    @property
    def text_model(self) -> Any:
        """Tokenizer and graph, of a model that has them."""
        return getattr(self.model, "text_model", None)

    def load(self) -> None:
        """Load everything now rather than at the first text."""
        self.model.load()

    def token_count(self, texts: Texts, *, is_doc: bool = True, include_extension: bool = False) -> int:
        """Count the texts' tokens, special ones included; nothing is added to documents or queries."""
        return self.model.token_count(texts)

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of ``spec.arrow_type``, one entry a text, in order."""
        return vector_column(self._embed(text_list(texts)))

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries, with the query side of the model."""
        return vector_column(self._embed(text_list(texts), use="query"))

    def embed_array(
        self, texts: list[str], *, use: Use = "passage", max_rows: int | None = None
    ) -> npt.NDArray[np.floating]:
        """Embed texts as one matrix (texts, dim) of dense vectors."""
        vectors = self._embed(texts, use=use, max_rows=max_rows)
        assert isinstance(vectors, np.ndarray)
        return vectors

    def embed_tokens(self, texts: list[str], *, use: Use = "passage", max_rows: int | None = None) -> TokenVectors:
        """Embed texts as one matrix of token vectors with offsets."""
        vectors = self._embed(texts, use=use, max_rows=max_rows)
        assert isinstance(vectors, TokenVectors)
        return vectors

    def _embed(self, texts: list[str], *, use: Use = "passage", max_rows: int | None = None) -> Vectors:
        return self.model.embed_each(texts, use=use, max_rows=max_rows)[self.kind]


def vector_column(vectors: Vectors) -> pa.Array:
    """Make the Arrow column of some texts' vectors."""
    if isinstance(vectors, TokenVectors):
        return multivector_array(vectors.offsets, vectors.vectors)
    return dense_array(vectors) if isinstance(vectors, np.ndarray) else vectors
