"""SPLADE++: a masked language model's logits as weights of the vocabulary's entries.

Weight of an entry: the maximum over a text's tokens of log(1 + max(logit, 0)) (Formal et al., "From Distillation to
Hard Negative Sampling: Making Sparse Neural IR Models More Effective", 2022). Queries are embedded as documents are.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa

from embedders.base import Texts
from embedders.sparse.sparse_network import SparseNetwork
from embedders.sparse.vocabulary_weights import check_logits, embed_by_vocabulary
from embedders.texts import text_list


class Splade(SparseNetwork):
    """A SPLADE model; meets `embedders.base.Embedder`. ``max_length`` replaces the limit in the tokenizer's files.

    Raises ModelNotFoundError, ModelFilesError or DeviceError.
    """

    def check(self) -> None:
        """Load tokenizer and graph."""
        check_logits(self.text_model, "SPLADE")

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector; see Embedder."""
        return self.text_model.fingerprint(family="splade")

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of SPARSE_TYPE: token ids, ascending, and float32 weights.

        Raises ValueError naming the first text that is not a str of valid Unicode.
        """
        self.load()
        return embed_by_vocabulary(self.text_model, text_list(texts), np.log1p)

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Same as ``embed_arrow``."""
        return self.embed_arrow(texts)
