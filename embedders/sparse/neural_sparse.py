"""OpenSearch neural sparse models: documents by the model, queries by a table, without inference.

Weight of an entry in a document: log(1 + log(1 + max(logit, 0))), the logit being the greatest over the text's tokens
(Shen et al., "Exploring l0 Sparsification for Inference-free Sparse Retrievers", 2025). ``idf.json`` has the
weights of a query's tokens. Special tokens count in neither. The table's weights are learned: the index must not
multiply them by an idf.
"""

from __future__ import annotations

import json
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.base import Texts
from embedders.errors import ModelFilesError
from embedders.sparse.entries import entries_column, entry_indices, entry_keys
from embedders.sparse.sparse_network import SparseNetwork
from embedders.sparse.vocabulary_weights import check_logits, embed_by_vocabulary
from embedders.texts import text_list

IDF_FILE = "idf.json"


class NeuralSparse(SparseNetwork):
    """An inference-free sparse model; meets `embedders.base.Embedder`.

    ``max_length`` replaces the limit in the tokenizer's files. Queries need neither graph nor session. Raises
    ModelNotFoundError, ModelFilesError or DeviceError.
    """

    def check(self) -> None:
        """Load tokenizer, table and graph."""
        _ = self._idf
        check_logits(self.text_model, "neural sparse")

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector; see Embedder."""
        return self.text_model.fingerprint(family="neural_sparse")

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of SPARSE_TYPE: token ids, ascending, and float32 weights.

        Raises ValueError naming the first text that is not a str of valid Unicode.
        """
        self.load()
        return embed_by_vocabulary(self.text_model, text_list(texts), _log_twice, self._special_ids)

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries by the table of weights: each distinct token once, unless the table lacks it."""
        tokens = self.text_model.tokenizer.encode(text_list(texts))
        rows = np.repeat(np.arange(len(tokens)), tokens.lengths)
        weights = self._idf[tokens.ids]
        kept = weights != 0
        keys = np.unique(entry_keys(rows[kept], tokens.ids[kept]))
        return entries_column(keys, self._idf[entry_indices(keys)], len(tokens))

    @cached_property
    def _special_ids(self) -> npt.NDArray[np.int64]:
        return np.array(sorted(self.text_model.tokenizer.special_tokens.values()), dtype=np.int64)

    @cached_property
    def _idf(self) -> npt.NDArray[np.float32]:
        """Weight of each token id in a query; 0 for special tokens and those the table lacks."""
        path = self.text_model.folder / IDF_FILE
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            vocabulary = self.text_model.tokenizer.tokenizer.get_vocab(with_added_tokens=True)
            known = {vocabulary[token]: float(idf) for token, idf in table.items() if token in vocabulary}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ModelFilesError(f"{path} is not a JSON object of query weights by token: {error}") from None
        if not np.isfinite(list(known.values())).all():
            raise ModelFilesError(f"{path} gives weights that are not finite")
        weights = np.zeros(self.text_model.tokenizer.vocabulary_size, dtype=np.float32)
        weights[list(known)] = list(known.values())
        weights[self._special_ids] = 0
        return weights


def _log_twice(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.log1p(np.log1p(values))
