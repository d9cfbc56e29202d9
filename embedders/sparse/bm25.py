"""BM25 as sparse vectors: the term-frequency part here, the inverse document frequency in the vector store.

Weight of a term in a document: tf * (k + 1) / (tf + k * (1 - b + b * length / avg_len)), where ``length`` is the number
of words kept (Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, section 3). Terms
of a query weigh 1. The index needs the modifier idf.

Differences from fastembed 0.9.1, which gives the same weights otherwise:

- Two stems of one document with the same hash: their frequencies are added up, where fastembed keeps the later one's.
- "Σ" right after "İ" is lowered as a separate word, since "İ" ends a word when it is lowered.
- Indices ascend, where fastembed has them in order of first appearance, or of a set for queries.
- Values are float32, queries' too, where fastembed has float64 and int64.
- A missing list of stop words is an error, where fastembed goes on without one.
- Options out of range, None among the texts and lone surrogates are errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from py_rust_stemmers import SnowballStemmer

from embedders.arrow import SPARSE_TYPE, sparse_array
from embedders.base import EmbedStats, Texts, VectorSpec
from embedders.catalog import ModelCard
from embedders.fingerprint import facts_digest
from embedders.model_options import ModelFiles, Runtime
from embedders.sparse.entries import entry_indices, entry_keys, entry_rows, row_offsets
from embedders.sparse.stopwords import load_stopwords, words_digest
from embedders.sparse.terms import DROPPED, Stemmer, StemWords, TermIds, stem_function
from embedders.sparse.words import Words, slices, split_words, text_column
from embedders.travel import Unloaded

# The only \w character of Unicode's punctuation; a word of it alone is no term.
_LONE_PUNCTUATION = "_"


class Bm25(Unloaded):
    """BM25 embedder; meets `embedders.base.Embedder` and `LengthMeasuring`.

    The constructor reads all files; ``runtime`` is ignored.

    ``k`` saturates term frequency, ``b`` (0 to 1) normalises length against ``avg_len`` words. ``language`` chooses the
    Snowball stemmer and the stop words. Words of more than ``token_max_length`` characters are dropped. ``stemmer``
    replaces Snowball's, ``stopwords`` the language's list; ``disable_stemmer`` turns off stemming and the language's
    stop words. Raises ValueError for options that do not fit together or are out of range.
    """

    def __init__(
        self,
        card: ModelCard,
        files: ModelFiles,
        runtime: Runtime,
        *,
        k: float = 1.2,
        b: float = 0.75,
        avg_len: float = 256.0,
        language: str = "english",
        token_max_length: int = 40,
        disable_stemmer: bool = False,
        stemmer: Stemmer | None = None,
        stopwords: Iterable[str] | None = None,
    ):
        self.stats = EmbedStats()
        self._weighting = Weighting(k, b, avg_len)
        if token_max_length < 1:
            raise ValueError(f"token_max_length must be at least 1, got {token_max_length}")
        if disable_stemmer and stemmer is not None:
            raise ValueError("stemmer and disable_stemmer=True exclude each other; give one of them")
        known = language in card.languages
        if not known and not disable_stemmer and stemmer is None:
            raise ValueError(
                f"language {language!r} has no stemmer here: set disable_stemmer to true, which leaves words as they "
                f"are, or take one of {', '.join(card.languages)}"
            )
        if stopwords is not None:
            listed = _lowered(stopwords)
        else:
            listed = load_stopwords(card, language, files) if known and not disable_stemmer else frozenset()
        self._stemmer, self._language = stemmer, None if disable_stemmer or stemmer is not None else language
        self._dropped, self._token_max_length = listed | {_LONE_PUNCTUATION}, token_max_length
        # The stems of some words identify the stemmer: an object has no digest, and two may share a class.
        stems = list(self._stem_words(card.options["stemmer_probes"]))
        facts = ["bm25", float(k), float(b), float(avg_len), token_max_length, words_digest(listed), stems]
        self._fingerprint = facts_digest(facts)

    @cached_property
    def _stem_words(self) -> StemWords:
        return stem_function(self._stemmer if self._language is None else SnowballStemmer(self._language))

    @cached_property
    def _terms(self) -> TermIds:
        return TermIds(self._stem_words, self._dropped, self._token_max_length)

    def load(self) -> None:
        """Do nothing, since the constructor has read all files."""

    @property
    def spec(self) -> VectorSpec:
        """Sparse vectors compared by dot product, with the idf modifier."""
        return VectorSpec(kind="sparse", arrow_type=SPARSE_TYPE, distance="dot", idf=True)

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over the options, the stop words in use and the stems of some words."""
        return self._fingerprint

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of SPARSE_TYPE, indices ascending; a text without terms has an empty vector.

        Raises TypeError for what is not a str and ValueError for a lone surrogate.
        """
        return self._embed(texts, self._weighting.document)

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries as `embed_arrow` does, but every term weighs 1."""
        return self._embed(texts, _query_weights)

    def token_count(self, texts: Texts) -> int:
        """Number of words in the texts, dropped ones included."""
        return sum(len(split_words(part).column) for part in slices(text_column(texts)))

    def scored_lengths(self, texts: Texts) -> npt.NDArray[np.int64]:
        """Words kept of each text, (texts,): the formula's ``length``, whose average over a corpus is ``avg_len``.

        Unlike `token_count`, it leaves out stop words, words that are too long and words without a stem.
        """
        parts = [self._lengths(split_words(part)) for part in slices(text_column(texts))]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def _lengths(self, words: Words) -> npt.NDArray[np.int64]:
        kept = np.zeros(len(words.column) + 1, dtype=np.int64)
        np.cumsum(self._term_ids(words) != DROPPED, out=kept[1:])
        return np.diff(kept[words.offsets])

    def _embed(self, texts: Texts, weights: WeightFunction) -> pa.Array:
        parts = [self._embed_slice(part, weights) for part in slices(text_column(texts))]
        return pa.concat_arrays(parts) if parts else pa.array([], type=SPARSE_TYPE)

    def _embed_slice(self, texts: pa.LargeStringArray, weights: WeightFunction) -> pa.Array:
        start = perf_counter()
        term_ids = self._term_ids(words := split_words(texts))
        tokenized = perf_counter()
        counts = count_terms(term_ids, words.offsets)
        column = sparse_array(counts.offsets, counts.terms, weights(counts))
        kept = int(counts.lengths.sum())
        self.stats.add(
            EmbedStats(
                rows=len(texts),
                tokens=kept,
                padded_tokens=kept,
                tokenize_seconds=tokenized - start,
                model_seconds=perf_counter() - tokenized,
            )
        )
        return column

    def _term_ids(self, words: Words) -> npt.NDArray[np.int64]:
        distinct = words.column.dictionary_encode()
        positions: npt.NDArray[np.int32] = distinct.indices.to_numpy()
        return np.take(self._terms.ids(distinct.dictionary.to_pylist()), positions)


@dataclass(frozen=True)
class TermCounts:
    """Terms of some texts as CSR arrays, ascending within a text.

    Text r, of ``lengths[r]`` kept words, owns entries ``offsets[r]:offsets[r + 1]`` of ``terms`` (uint32) and
    ``frequencies`` (int64); ``rows`` (int64) names each entry's text.
    """

    offsets: npt.NDArray[np.int64]
    terms: npt.NDArray[np.uint32]
    frequencies: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


WeightFunction = Callable[[TermCounts], npt.NDArray[np.float32]]


def count_terms(term_ids: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> TermCounts:
    """Count each text's terms; text r owns ``term_ids[offsets[r]:offsets[r + 1]]``, DROPPED ones do not count."""
    size = len(offsets) - 1
    rows = np.repeat(np.arange(size), np.diff(offsets))
    kept = np.flatnonzero(term_ids != DROPPED)
    rows = rows.take(kept)
    # One sort brings equal terms of a text together.
    keys = entry_keys(rows, term_ids.take(kept))
    keys.sort()
    first = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    keys = keys.take(starts)
    term_rows = entry_rows(keys)
    return TermCounts(
        offsets=row_offsets(term_rows, size),
        terms=entry_indices(keys).astype(np.uint32),
        frequencies=np.diff(starts, append=len(first)),
        rows=term_rows,
        lengths=np.bincount(rows, minlength=size),
    )


@dataclass(frozen=True)
class Weighting:
    """Parameters of the formula at the top of this module."""

    k: float
    b: float
    avg_len: float

    def __post_init__(self) -> None:
        if not self.k >= 0:
            raise ValueError(f"k must be at least 0, got {self.k}")
        if not 0 <= self.b <= 1:
            raise ValueError(f"b must be between 0 and 1, got {self.b}")
        if not self.avg_len > 0:
            raise ValueError(f"avg_len must be more than 0, got {self.avg_len}")
        for name in ("k", "avg_len"):
            if math.isinf(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, got inf")

    def document(self, counts: TermCounts) -> npt.NDArray[np.float32]:
        """Weight of each of the texts' terms, float32."""
        return self.frequency_part(counts.frequencies, counts.lengths[counts.rows]).astype(np.float32)

    def frequency_part(
        self, frequencies: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Weight of terms by their frequency in texts of so many words, float64."""
        saturation = self.k * (1 - self.b + self.b * lengths / self.avg_len)
        weights: npt.NDArray[np.float64] = frequencies * (self.k + 1) / (frequencies + saturation)
        return weights


def _query_weights(counts: TermCounts) -> npt.NDArray[np.float32]:
    return np.ones(len(counts.terms), dtype=np.float32)


def _lowered(stopwords: Iterable[str]) -> frozenset[str]:
    if isinstance(stopwords, str):
        raise TypeError(f"stopwords must be a set of words, not the str {stopwords!r}")
    return frozenset(word.lower() for word in stopwords)
