"""Base of the sparse families that run a graph: their common option, the kind of their column, the rehearsal."""

from __future__ import annotations

from abc import abstractmethod

import pyarrow as pa

from embedders.arrow import SPARSE_TYPE
from embedders.base import Texts, VectorSpec
from embedders.catalog import ModelCard
from embedders.model_options import ModelFiles, Runtime
from embedders.network_model import NetworkModel
from embedders.text_model import PROBES


class SparseNetwork(NetworkModel):
    """A sparse model with a graph; meets `embedders.base.Embedder`.

    ``max_length`` replaces the limit in the tokenizer's files.
    """

    def __init__(self, card: ModelCard, files: ModelFiles, runtime: Runtime, *, max_length: int | None = None) -> None:
        super().__init__(card, files, runtime, max_length=max_length)

    @property
    def spec(self) -> VectorSpec:
        """Sparse vectors compared by dot product, with the idf modifier where the card asks for it."""
        return VectorSpec(kind="sparse", arrow_type=SPARSE_TYPE, distance="dot", idf=self.card.requires_idf)

    def rehearse(self) -> None:
        """Embed texts as documents and as queries."""
        self.embed_arrow(PROBES)
        self.embed_queries_arrow(PROBES)

    @abstractmethod
    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of SPARSE_TYPE."""

    @abstractmethod
    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries as a column of SPARSE_TYPE."""
