"""BM42: words weighed by the attention that a transformer's [CLS] token gives them.

Weight of a word in a document: ln(1 + a) ** alpha, where a is the attention of [CLS] to the word's pieces, summed over
the pieces and averaged over the heads of one layer; of words with the same stem the greatest counts (Vasnetsov, "BM42",
2024, qdrant.tech/articles/bm42). A query's words weigh 1, and no model is run. The index needs the modifier idf.
"""

from __future__ import annotations

import string
from functools import cached_property
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from py_rust_stemmers import SnowballStemmer

from embedders.base import Texts
from embedders.catalog import ModelCard
from embedders.model_options import ModelFiles, Runtime
from embedders.sparse.entries import entries_column, entry_keys, greatest_of_equal
from embedders.sparse.sparse_network import SparseNetwork
from embedders.sparse.terms import DROPPED, term_id
from embedders.sparse.wordpieces import PieceWords, WordMemo, WordPieces, read_stopwords
from embedders.text_model import BatchOutput
from embedders.texts import text_list
from embedders.tokenized_texts import TokenizedTexts

DEFAULT_LANGUAGE = "english"


class Bm42(SparseNetwork):
    """A BM42 model; meets `embedders.base.Embedder`.

    ``alpha`` flattens the weights. ``max_length`` replaces the limit in the tokenizer's files. Queries need neither
    graph nor session. Raises ModelNotFoundError, ModelFilesError or DeviceError.
    """

    CARD_OPTIONS = ("vocab_size", "language")

    def __init__(
        self,
        card: ModelCard,
        files: ModelFiles,
        runtime: Runtime,
        *,
        alpha: float = 0.5,
        max_length: int | None = None,
    ) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha must be more than 0, got {alpha}")
        self._alpha = float(alpha)
        super().__init__(card, files, runtime, max_length=max_length)

    def check(self) -> None:
        """Load tokenizer, stop words and graph."""
        self.text_model.check_output((4,), "BM42 takes attention of (texts, heads, tokens, tokens)")
        _ = self._terms

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector; see Embedder."""
        return self.text_model.fingerprint(
            family="bm42", alpha=self._alpha, stopwords=sorted(self._stopwords), language=self._language
        )

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of SPARSE_TYPE, indices ascending; a text without terms has an empty vector.

        Raises ValueError naming the first text that is not a str of valid Unicode.
        """
        self.load()
        tokens, distinct = self.text_model.tokenize(text_list(texts))
        attention = np.zeros(len(tokens.ids), dtype=np.float32)
        for batch in self.text_model.run(tokens):
            started = perf_counter()
            attention[tokens.positions(batch.rows)] = cls_attention(batch)
            self.text_model.count_model_seconds(perf_counter() - started)
        started = perf_counter()
        column = self._weigh(self._pieces.split(tokens), attention, len(tokens))
        self.text_model.count_model_seconds(perf_counter() - started)
        return distinct.for_all(column)

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries; every term weighs 1."""
        tokens: TokenizedTexts = self.text_model.tokenizer.encode(text_list(texts))
        words = self._pieces.split(tokens)
        terms = self._term_ids(words)
        keys = np.unique(entry_keys(words.rows, terms)[terms != DROPPED])
        return entries_column(keys, np.ones(len(keys), np.float32), len(tokens))

    def _weigh(self, words: PieceWords, attention: npt.NDArray[np.float32], size: int) -> pa.Array:
        terms = self._term_ids(words)
        kept = terms != DROPPED
        if not kept.any():
            return entries_column(np.zeros(0, np.int64), np.zeros(0, np.float32), size)
        weights = np.add.reduceat(attention[words.positions], words.starts[:-1])[kept]
        keys, greatest = greatest_of_equal(entry_keys(words.rows, terms)[kept], weights)
        return entries_column(keys, np.log1p(greatest) ** np.float32(self._alpha), size)

    @property
    def _language(self) -> str:
        return str(self.card.options.get("language", DEFAULT_LANGUAGE))

    @cached_property
    def _stopwords(self) -> frozenset[str]:
        return read_stopwords(self.text_model.folder)

    @cached_property
    def _pieces(self) -> WordPieces:
        return WordPieces(self.text_model.tokenizer, skip_special=True)

    @cached_property
    def _terms(self) -> WordMemo[int]:
        dropped = self._stopwords | frozenset(string.punctuation)
        stemmer = SnowballStemmer(self._language)

        def learn(words: list[str]) -> list[int]:
            stems = stemmer.stem_words(words)
            pairs = zip(words, stems, strict=True)
            return [DROPPED if not word or word in dropped else term_id(stem) for word, stem in pairs]

        return WordMemo(self._pieces, learn)

    def _term_ids(self, words: PieceWords) -> npt.NDArray[np.int64]:
        return np.array(self._terms.values(words.distinct), dtype=np.int64)[words.numbers]


def cls_attention(output: BatchOutput) -> npt.NDArray[np.float32]:
    """Attention of each text's first token to the text's tokens, mean over the heads; flat, in the order of rows.

    ``output.values`` is (rows, heads, tokens, tokens).
    """
    first = np.argmax(output.mask, axis=1)
    mean = output.values[np.arange(len(first)), :, first].mean(axis=1)
    flat: npt.NDArray[np.float32] = mean[output.mask].astype(np.float32, copy=False)
    return flat
