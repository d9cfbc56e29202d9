"""Turns words into term ids: stop words are dropped, stems hashed, and the ids of words remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from itertools import repeat
from typing import Protocol

import mmh3
import numpy as np
import numpy.typing as npt

DROPPED = -1

# Words that are remembered, about 60 MB.
MEMO_WORDS = 1 << 18


class Stemmer(Protocol):
    """An object that reduces words to their stems, such as ``py_rust_stemmers.SnowballStemmer``."""

    def stem_word(self, word: str) -> str:
        """Stem of a lower-case word; an empty string drops the word."""


StemWords = Callable[[list[str]], Sequence[str]]


def stem_function(stemmer: Stemmer | None) -> StemWords:
    """A function that stems many words, from the stemmer's methods; without a stemmer, words are their stems.

    Raises TypeError for what is no stemmer.
    """
    if stemmer is None:
        return lambda words: words
    if not hasattr(stemmer, "stem_words") and not hasattr(stemmer, "stem_word"):
        raise TypeError(f"stemmer must be an object with stem_word, which only Python can give; got {stemmer!r}")
    many: StemWords | None = getattr(stemmer, "stem_words", None)
    return many if many is not None else lambda words: [stemmer.stem_word(word) for word in words]


def term_id(stem: str) -> int:
    """Dimension of a stem: the absolute value of its signed 32-bit MurmurHash3 (x86, seed 0), 0 to 2**31."""
    return abs(mmh3.hash(stem))


class TermIds:
    """Ids of words, whatever their case, remembered across calls. May be shared by threads.

    Words of more than ``max_length`` characters, stop words and words without a stem have the id DROPPED. At most
    ``memo_words`` words are remembered, or those of one call where they are more.
    """

    def __init__(self, stem_words: StemWords, stopwords: Set[str], max_length: int, *, memo_words: int = MEMO_WORDS):
        self._stem_words = stem_words
        self._stopwords = stopwords
        self._max_length = max_length
        self._memo_words = memo_words
        self._memo: dict[str, int] = {}

    def ids(self, words: Sequence[str]) -> npt.NDArray[np.int64]:
        """Id of each word, int64. Fastest where no word comes twice."""
        memo = self._memo
        try:
            return np.fromiter(map(memo.__getitem__, words), np.int64, len(words))
        except KeyError:
            new = [word for word in words if word not in memo]
        if len(memo) + len(new) > self._memo_words:
            # A new dict, not clear(): another thread may be reading the old one.
            self._memo = memo = {}
            new = list(words)
        memo.update(self._learn(new))
        return np.fromiter(map(memo.get, words, repeat(DROPPED)), np.int64, len(words))

    def _learn(self, words: list[str]) -> dict[str, int]:
        # Overlong words are not remembered: a megabyte without a space would be one.
        lowered = {word: lower for word in words if len(lower := word.lower()) <= self._max_length}
        terms = {word: lower for word, lower in lowered.items() if lower not in self._stopwords}
        stems = self._stem_words(list(terms.values()))
        ids = dict.fromkeys(lowered, DROPPED)
        ids.update((word, term_id(stem)) for word, stem in zip(terms, stems, strict=True) if stem)
        return ids
