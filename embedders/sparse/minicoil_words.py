"""MiniCOIL's vocabulary, the meanings of words, and the words of whole batches counted.

A word that the vocabulary lacks is split into stems, as by BM25.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unicodedata import category

import numpy as np
import numpy.typing as npt
from py_rust_stemmers import SnowballStemmer

from embedders.errors import ModelFilesError
from embedders.sparse.entries import entry_indices, entry_keys, entry_rows
from embedders.sparse.terms import term_id
from embedders.sparse.wordpieces import PieceWords
from embedders.tokenized_texts import ranges

VOCABULARY_FILE = "minicoil.triplet.model.vocab"
MAX_TERM_CHARACTERS = 40
INT32_MAX = 2**31 - 1
_SPECIAL = frozenset(("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"))
_NO_WORD = re.compile(r"[^\w\s]")


@dataclass(frozen=True)
class Meaning:
    """Meaning of a word: its id in the vocabulary, from 1, or its stems where it is unknown.

    A stem is a pair: its hashed index, and the id of the word of the vocabulary with that spelling, or 0.
    """

    word_id: int = 0
    stems: tuple[tuple[int, int], ...] = ()


class Lexicon:
    """The vocabulary: words with their ids, and stems that lead to them."""

    def __init__(self, folder: Path, stopwords: frozenset[str], language: str) -> None:
        path = folder / VOCABULARY_FILE
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            self._ids: Mapping[str, int] = {word: number for number, word in enumerate(facts["vocab"], start=1)}
            self._stems = {stem: word for stem, word in facts["stem_mapping"].items() if word in self._ids}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelFilesError(f"{path} is not a miniCOIL vocabulary (vocab, stem_mapping): {error}") from None
        self.size = len(self._ids) + 1
        self._stopwords = stopwords
        self._unwanted = stopwords | _SPECIAL
        self._stemmer = SnowballStemmer(language)

    def meanings(self, words: list[str], shift: int) -> list[Meaning]:
        """Meaning of each word; indices of unknown stems begin at ``shift``."""
        stems = self._stemmer.stem_words(words)
        return [self._meaning(word, stem, shift) for word, stem in zip(words, stems, strict=True)]

    def _meaning(self, word: str, stem: str, shift: int) -> Meaning:
        if word not in self._stopwords:
            known = word if word in self._ids else self._stems.get(word) or self._stems.get(stem)
            if known is not None:
                return Meaning(word_id=self._ids[known])
        if self._is_unwanted(word):
            return Meaning()
        parts = self._stemmer.stem_words(_NO_WORD.sub(" ", word).split())
        kept = [part for part in parts if len(part) <= MAX_TERM_CHARACTERS and not self._is_unwanted(part)]
        span = INT32_MAX - shift
        return Meaning(stems=tuple((shift + term_id(part) % span, self._ids.get(part, 0)) for part in kept))

    def _is_unwanted(self, word: str) -> bool:
        return word in self._unwanted or (len(word) == 1 and category(word).startswith("P"))


@dataclass(frozen=True)
class Counted:
    """Words of some texts, counted.

    Group g is a known word of a text: ``group_rows[g]``, ``group_words[g]``, ``group_counts[g]`` times; its tokens are
    ``tokens[token_starts[g]:token_starts[g + 1]]``. Groups ascend by text, then word. Unknown stem u of text
    ``stem_rows[u]`` has index ``stem_ids[u]`` and occurs ``stem_counts[u]`` times. ``lengths`` (texts,) counts
    each text's words.
    """

    group_rows: npt.NDArray[np.int64]
    group_words: npt.NDArray[np.int64]
    group_counts: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    token_starts: npt.NDArray[np.int64]
    stem_rows: npt.NDArray[np.int64]
    stem_ids: npt.NDArray[np.int64]
    stem_counts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, words: PieceWords, meanings: list[Meaning], size: int) -> Counted:
        """Count the words of ``size`` texts; ``meanings`` are those of ``words.distinct``."""
        word_ids = np.array([meaning.word_id for meaning in meanings], dtype=np.int64)[words.numbers]
        known = np.flatnonzero(word_ids)
        occurrences = entry_keys(words.rows[known], word_ids[known])
        keys, group_of, counts = np.unique(occurrences, return_inverse=True, return_counts=True)
        rows, ids, twins = _stems(words, meanings)
        # A stem that is spelt like a known word of the same text counts as that word.
        twin_of = _find(keys, entry_keys(rows, twins))
        merged = twin_of >= 0
        counts = counts + np.bincount(twin_of[merged], minlength=len(keys))
        stems, stem_counts = np.unique(entry_keys(rows[~merged], ids[~merged]), return_counts=True)
        lengths = np.bincount(entry_rows(keys), weights=counts, minlength=size) + np.bincount(
            entry_rows(stems), weights=stem_counts, minlength=size
        )
        by_group = known[np.argsort(group_of, kind="stable")]
        pieces = np.bincount(group_of, weights=words.lengths[known], minlength=len(keys)).astype(np.int64)
        return cls(
            group_rows=entry_rows(keys),
            group_words=entry_indices(keys),
            group_counts=counts,
            tokens=words.positions[ranges(words.starts[by_group], words.starts[by_group + 1])],
            token_starts=np.concatenate(([0], np.cumsum(pieces))),
            stem_rows=entry_rows(stems),
            stem_ids=entry_indices(stems),
            stem_counts=stem_counts,
            lengths=lengths.astype(np.int64),
        )


def _find(keys: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Position of each wanted number among ascending keys, -1 where it is missing."""
    if not len(keys):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _stems(
    words: PieceWords, meanings: list[Meaning]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Text, index and twin (the id of the vocabulary's word of that spelling, or 0) of every unknown stem."""
    pairs = np.array([pair for meaning in meanings for pair in meaning.stems], dtype=np.int64).reshape(-1, 2)
    ends = np.concatenate(([0], np.cumsum([len(meaning.stems) for meaning in meanings], dtype=np.int64)))
    starts, stops = ends[words.numbers], ends[words.numbers + 1]
    ids, twins = pairs[ranges(starts, stops)].T
    return np.repeat(words.rows, stops - starts), ids, twins
