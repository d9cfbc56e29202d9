"""The interface between embedders and a pipeline: texts in, one Arrow column out, counters, a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.errors import ImageError
from embedders.length_counts import no_lengths

Texts: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray


@dataclass(frozen=True)
class VectorSpec:
    """How a vector column is stored and compared.

    ``dim`` is None for sparse vectors. ``idf`` asks the store to weigh terms by inverse document frequency
    (Qdrant's ``modifier: idf``).
    """

    kind: Literal["dense", "sparse", "multivector"]
    arrow_type: pa.DataType
    dim: int | None = None
    distance: Literal["cosine", "dot", "euclid", "manhattan"] = "cosine"
    idf: bool = False


@dataclass
class EmbedStats:
    """Counters of one embedder since it was made; all are plain sums, so that workers' can be added up.

    ``tokens`` counts real tokens fed to the model (special ones included), ``padded_tokens`` the cells of the
    batches they were fed in: ``1 - tokens / padded_tokens`` is the padding waste. ``truncated`` counts texts that lost
    tokens, ``unknown`` those of which at least half of the tokens are unknown to the tokenizer. For models of images,
    ``decode_seconds`` is the time that files took to become pixels, ``transform_seconds`` the time that pixels took to
    become the model's input, both summed over threads that work at once. ``length_counts`` are the texts by their
    tokens after truncation, in the bins of `embedders.length_counts`; a model without a tokenizer of its own counts
    none.
    """

    rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    truncated: int = 0
    unknown: int = 0
    tokenize_seconds: float = 0.0
    model_seconds: float = 0.0
    decode_seconds: float = 0.0
    transform_seconds: float = 0.0
    length_counts: npt.NDArray[np.int64] = field(default_factory=no_lengths, compare=False, repr=False)

    def add(self, other: EmbedStats) -> None:
        """Add another embedder's counters to these."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def padding_waste(self) -> float:
        """Share of the fed cells that were padding, 0 to 1."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0


class Embedder(Protocol):
    """One model, ready to embed. Loading may be lazy; ``embed_arrow`` and ``embed_queries_arrow`` load it."""

    @property
    def stats(self) -> EmbedStats:
        """Counters since the embedder was made."""

    @property
    def spec(self) -> VectorSpec:
        """Kind, type and dimension of the column."""

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector: model files, tokenizer, pooling, length, options."""

    def load(self) -> None:
        """Load everything now rather than at the first text; raises ModelFilesError for files that do not fit."""

    def token_count(self, texts: Texts) -> int:
        """Sum of the texts' tokens."""

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents; the column has ``spec.arrow_type``, one entry a text, in order.

        Raises on the first text that cannot be embedded; the caller splits the batch to find it.
        """

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries, with the query side of the model."""


@runtime_checkable
class TolerantEmbedder(Protocol):
    """An embedder that goes on after a document that it cannot read, as models of images do."""

    def embed_arrow_and_errors(self, contents: pa.Array) -> tuple[pa.Array, dict[int, ImageError]]:
        """Embed documents; returns the column, null at those that cannot be read, and their errors by position."""


@runtime_checkable
class LengthMeasuring(Protocol):
    """An embedder whose weights depend on a document's length relative to the average, its option ``avg_len``."""

    def scored_lengths(self, texts: Texts) -> npt.NDArray[np.int64]:
        """Length of each text that its weights are computed from, (texts,); the average of these is ``avg_len``.

        Does not count in ``stats``. Raises as ``embed_arrow`` does.
        """
