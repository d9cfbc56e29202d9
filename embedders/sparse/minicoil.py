"""MiniCOIL: BM25 whose known words have four dimensions of meaning each.

A word of the vocabulary has the indices ``4 * word_id + j``, j = 0 to 3, with the vector tanh(h W) / |tanh(h W)|, where
h is the mean of the token vectors of all its occurrences and W the word's matrix; any other word is one term, hashed,
as in BM25. In a document both are multiplied by BM25's term frequency part (Vasnetsov, "miniCOIL", 2025,
qdrant.tech/articles/minicoil). The index needs the modifier idf.
"""

from __future__ import annotations

from functools import cached_property
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.base import Texts
from embedders.catalog import ModelCard
from embedders.errors import ModelFilesError
from embedders.model_options import ModelFiles, Runtime
from embedders.segments import segment_sums
from embedders.sparse.bm25 import Weighting
from embedders.sparse.entries import entries_column, entry_keys, row_offsets
from embedders.sparse.minicoil_words import Counted, Lexicon, Meaning
from embedders.sparse.sparse_network import SparseNetwork
from embedders.sparse.wordpieces import WordMemo, WordPieces, read_stopwords
from embedders.text_model import BatchOutput
from embedders.texts import text_list
from embedders.tokenization import refuse_invalid
from embedders.tokenized_texts import TokenizedTexts, ranges

VECTORS_FILE = "minicoil.triplet.model.npy"
DEFAULT_LANGUAGE = "english"
# Ids of unknown words begin at a multiple of this, at least one whole bucket beyond the known words' ids.
BUCKET = 32_000
SMALLEST_NORM = 1e-8


class MiniCoil(SparseNetwork):
    """A miniCOIL model; meets `embedders.base.Embedder` and `LengthMeasuring`.

    ``k``, ``b`` and ``avg_len`` are those of BM25 (`embedders.sparse.bm25.Weighting`). ``max_length`` replaces the
    limit in the tokenizer's files. Raises ModelNotFoundError, ModelFilesError, DeviceError, or ValueError for options
    out of range.
    """

    CARD_OPTIONS = ("vocab_size", "language")

    def __init__(
        self,
        card: ModelCard,
        files: ModelFiles,
        runtime: Runtime,
        *,
        k: float = 1.2,
        b: float = 0.75,
        avg_len: float = 150.0,
        max_length: int | None = None,
    ) -> None:
        self._weighting = Weighting(k, b, avg_len)
        super().__init__(card, files, runtime, max_length=max_length)

    def check(self) -> None:
        """Load everything, and check that the files belong together."""
        self.text_model.check_output((3,), "miniCOIL takes token vectors of (texts, tokens, dim)")
        words, width, _ = self._matrices.shape
        given = self.text_model.probe().values.shape[-1]
        if (words, width) != (self._lexicon.size, given):
            raise ModelFilesError(
                f"{self.text_model.folder / VECTORS_FILE} has {words} matrices of {width} rows, the vocabulary has "
                f"{self._lexicon.size} words and the graph gives {given} numbers a token: they do not belong together"
            )

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector; see Embedder."""
        weighting = self._weighting
        return self.text_model.fingerprint(
            family="minicoil", k=float(weighting.k), b=float(weighting.b), avg_len=float(weighting.avg_len)
        )

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of SPARSE_TYPE, indices ascending; a text without words has an empty vector.

        Raises ValueError naming the first text that is not a str of valid Unicode.
        """
        return self._embed(text_list(texts), weighted=True)

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries as documents, without the term frequencies."""
        return self._embed(text_list(texts), weighted=False)

    def scored_lengths(self, texts: Texts) -> npt.NDArray[np.int64]:
        """Words of each text that have a meaning or a stem, within the limit of tokens, (texts,).

        This is the length that the weights are computed with. The graph is neither loaded nor run.
        """
        given = text_list(texts)
        refuse_invalid(given)
        return self._count(self.text_model.tokenizer.encode(given)).lengths

    def _count(self, tokens: TokenizedTexts) -> Counted:
        words = self._pieces.split(tokens)
        return Counted.of(words, self._memo.values(words.distinct), len(tokens))

    def _embed(self, texts: list[str], *, weighted: bool) -> pa.Array:
        self.load()
        tokens, distinct = self.text_model.tokenize(texts)
        started = perf_counter()
        counted = self._count(tokens)
        self.text_model.count_model_seconds(perf_counter() - started)
        meanings = np.zeros((len(counted.group_rows), self._matrices.shape[2]), dtype=np.float32)
        group_offsets = row_offsets(counted.group_rows, len(tokens))
        for batch in self.text_model.run(tokens):
            started = perf_counter()
            groups = ranges(group_offsets[batch.rows], group_offsets[batch.rows + 1])
            means = group_means(batch, tokens, counted, groups)
            meanings[groups] = self._meanings(means, counted.group_words[groups])
            self.text_model.count_model_seconds(perf_counter() - started)
        started = perf_counter()
        column = self._column(counted, meanings, weighted=weighted)
        self.text_model.count_model_seconds(perf_counter() - started)
        return distinct.for_all(column)

    def _meanings(self, means: npt.NDArray[np.float32], words: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        projected = np.tanh(np.matmul(means[:, None, :], self._matrices[words])[:, 0])
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        unit: npt.NDArray[np.float32] = projected / np.where(norms < SMALLEST_NORM, 1, norms)
        return unit

    def _column(self, counted: Counted, meanings: npt.NDArray[np.float32], *, weighted: bool) -> pa.Array:
        width = meanings.shape[1]
        known = np.ones(len(counted.group_rows), np.float64)
        unknown = np.ones(len(counted.stem_rows), np.float64)
        if weighted:
            known = self._weighting.frequency_part(counted.group_counts, counted.lengths[counted.group_rows])
            unknown = self._weighting.frequency_part(counted.stem_counts, counted.lengths[counted.stem_rows])
        blocks = entry_keys(counted.group_rows, counted.group_words * width)
        keys = np.concatenate(
            ((blocks[:, None] + np.arange(width)).ravel(), entry_keys(counted.stem_rows, counted.stem_ids))
        )
        values = np.concatenate(((meanings * known[:, None]).ravel(), unknown))
        order = np.argsort(keys, kind="stable")
        return entries_column(keys[order], values[order], len(counted.lengths))

    @cached_property
    def _pieces(self) -> WordPieces:
        return WordPieces(self.text_model.tokenizer, skip_special=False)

    @cached_property
    def _lexicon(self) -> Lexicon:
        folder = self.text_model.folder
        language = str(self.card.options.get("language", DEFAULT_LANGUAGE))
        return Lexicon(folder, read_stopwords(folder), language)

    @cached_property
    def _memo(self) -> WordMemo[Meaning]:
        lexicon = self._lexicon
        shift = (lexicon.size * self._matrices.shape[2] // BUCKET + 2) * BUCKET
        return WordMemo(self._pieces, lambda words: lexicon.meanings(words, shift))

    @cached_property
    def _matrices(self) -> npt.NDArray[np.float32]:
        """Word matrices, (vocabulary + 1, hidden, 4); memory-mapped, since a corpus uses a part of them."""
        path = self.text_model.folder / VECTORS_FILE
        try:
            matrices: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ModelFilesError(f"{path} is not an array of word matrices: {error}") from None
        if matrices.ndim != 3 or not matrices.size or matrices.dtype.kind != "f":
            raise ModelFilesError(
                f"{path} holds {matrices.dtype} of shape {matrices.shape}, not floats of (words, hidden, dimensions)"
            )
        # A plain array over the map: indexing a memmap takes longer.
        return np.asarray(matrices)


def group_means(
    output: BatchOutput, tokens: TokenizedTexts, counted: Counted, groups: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Mean token vector of each of some groups, all of texts in this batch; (groups, hidden) float32."""
    starts, stops = counted.token_starts[groups], counted.token_starts[groups + 1]
    lengths = stops - starts
    at_row = np.zeros(len(tokens), dtype=np.int64)
    at_row[output.rows] = np.arange(len(output.rows))
    texts = counted.group_rows[groups]
    rows = at_row[texts]
    width = output.values.shape[1]
    # The first real token is at 0, unless the tokenizer pads on the left.
    shifts = rows * width + np.argmax(output.mask, axis=1)[rows] - tokens.offsets[texts]
    positions = counted.tokens[ranges(starts, stops)] + np.repeat(shifts, lengths)
    flat = output.values.reshape(-1, output.values.shape[2])
    sums = segment_sums(flat, positions, np.concatenate(([0], np.cumsum(lengths))))
    return np.asarray(sums / lengths[:, None], dtype=np.float32)
