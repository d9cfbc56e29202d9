"""Tokenizes plain ASCII texts by BERT's WordPiece word by word, each distinct word once, many texts at once.

A word is what BERT's pre-tokenizer gives: a run of ASCII letters and digits, or one punctuation mark. Words are found
with NumPy, and counted apart with Arrow, which both let other Python threads run; the tokenizer itself tells the pieces
of a word that is new. The ids are those of the tokenizer, which takes all other texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Tokenizer

from embedders.tokenized_texts import Padding, Side, TokenizedTexts, ranges

Ints = npt.NDArray[np.int64]

# Words that are remembered, about 100 MB; then all are forgotten.
MEMO_WORDS = 500_000
# Longer texts the tokenizer cuts first.
MOST_CHARACTERS = 1 << 20
# Below, a call of the tokenizer costs less than a dozen of NumPy.
LEAST_CHARACTERS = 4096
SPACE, WORD, MARK = range(3)
BLANKS = b" \t\n\r"
# The tokenizer drops control characters, which then do not divide words.
PLAIN = bytes([*BLANKS, *range(33, 127)])
PROBE = "a"


class WordPieceTexts:
    """The words of a tokenizer that works as BERT's; ``make`` gives None for another one."""

    def __init__(self, tokenizer: Tokenizer, facts: dict[str, Any], ends: tuple[list[int], list[int]]) -> None:
        self._model = tokenizer.model
        self._before, self._after = (np.array(ids, np.int64) for ids in ends)
        added = [re.escape(token["content"]) for token in facts["added_tokens"]]
        self._added = re.compile("|".join(added)) if added else None
        self._kinds, self._folded = _tables(lowercase=facts["normalizer"]["lowercase"])
        self._memo: dict[bytes, tuple[int, ...]] = {}

    @classmethod
    def make(cls, tokenizer: Tokenizer) -> WordPieceTexts | None:
        """Read how a tokenizer works, and remember its words if it works word by word as BERT's does."""
        facts = json.loads(tokenizer.to_str())
        normalizer, model = facts["normalizer"] or {}, facts["model"]
        kinds = (normalizer.get("type"), (facts["pre_tokenizer"] or {}).get("type"), model["type"])
        if kinds != ("BertNormalizer", "BertPreTokenizer", "WordPiece") or not normalizer["clean_text"]:
            return None
        # Normalized ones match in any case, empty ones everywhere.
        if any(token["normalized"] or not token["content"] for token in facts["added_tokens"]):
            return None
        own = [token.id for token in tokenizer.model.tokenize(PROBE)]
        whole = tokenizer.encode(PROBE).ids
        at = [start for start in range(len(whole)) if whole[start : start + len(own)] == own]
        if len(at) != 1 or not own:
            return None
        return cls(tokenizer, facts, (whole[: at[0]], whole[at[0] + len(own) :]))

    def known(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Mark the texts that can be tokenized here, (texts,)."""
        marks = np.fromiter((len(text) <= MOST_CHARACTERS and text.isascii() for text in texts), np.bool_, len(texts))
        some = [text for text, known in zip(texts, marks, strict=True) if known]
        joined = "\n".join(some)
        added = self._added is not None and self._added.search(joined) is not None
        if added or joined.encode("ascii").translate(None, PLAIN):
            marks[marks] = [self._is_plain(text) for text in some]
        return marks

    def _is_plain(self, text: str) -> bool:
        added = self._added is not None and self._added.search(text) is not None
        return not added and not text.encode("ascii").translate(None, PLAIN)

    def encode(self, texts: Sequence[str], *, max_length: int, side: Side, padding: Padding) -> TokenizedTexts:
        """Tokenize texts that are ``known``, cut at ``max_length`` tokens, special ones included."""
        words, counts = self._words(texts)
        pieces, flat = self._pieces(words.dictionary.to_pylist())
        numbers = words.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        starts = np.concatenate(([0], np.cumsum(pieces)))
        ids = flat[ranges(starts[numbers], starts[numbers + 1])]
        ends = np.concatenate(([0], np.cumsum(pieces[numbers])))[np.concatenate(([0], np.cumsum(counts)))]
        lengths = np.diff(ends)
        kept = np.minimum(lengths, max_length - len(self._before) - len(self._after))
        if (kept < lengths).any():
            first = ends[:-1] if side == "right" else ends[1:] - kept
            ids = ids[ranges(first, first + kept)]
        offsets = np.concatenate(([0], np.cumsum(kept + len(self._before) + len(self._after))))
        return TokenizedTexts(self._completed(ids, offsets), offsets, kept < lengths, padding)

    def _completed(self, ids: Ints, offsets: Ints) -> Ints:
        """Put the special tokens before and after the tokens of each text."""
        completed: Ints = np.empty(int(offsets[-1]), np.int64)
        for at, token in enumerate(self._before):
            completed[offsets[:-1] + at] = token
        for at, token in enumerate(self._after):
            completed[offsets[1:] - len(self._after) + at] = token
        completed[ranges(offsets[:-1] + len(self._before), offsets[1:] - len(self._after))] = ids
        return completed

    def _words(self, texts: Sequence[str]) -> tuple[pa.DictionaryArray, Ints]:
        """The words of all texts, end to end, and how many each text has."""
        characters = np.frombuffer("\n".join([*texts, ""]).encode("ascii"), np.uint8)
        kinds = self._kinds[characters]
        in_word = kinds == WORD
        begins = kinds == MARK
        begins[0] |= in_word[0]
        begins[1:] |= in_word[1:] & ~in_word[:-1]
        kept = kinds != SPACE
        ends_of_texts = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1) - 1
        at = np.flatnonzero(begins)
        counts = np.diff(np.searchsorted(at, ends_of_texts), prepend=0)
        content = self._folded[characters[kept]]
        offsets = np.append(np.flatnonzero(begins[kept]), len(content)).astype(np.int64)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
        return pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(offsets) - 1, buffers
        ).dictionary_encode(), counts

    def _pieces(self, words: list[bytes]) -> tuple[Ints, Ints]:
        """How many pieces each word has, and the pieces of all words, end to end."""
        # A new dict, not clear(): another thread may be reading the old one.
        memo = self._memo = {} if len(self._memo) > MEMO_WORDS else self._memo
        found = [memo.get(word) for word in words]
        for at, ids in enumerate(found):
            if ids is None:
                word = words[at]
                found[at] = memo[word] = tuple(token.id for token in self._model.tokenize(word.decode("ascii")))
        lengths = np.fromiter(map(len, found), np.int64, len(found))  # type: ignore[arg-type]
        return lengths, np.fromiter(chain.from_iterable(found), np.int64, int(lengths.sum()))  # type: ignore[arg-type]


def _tables(*, lowercase: bool) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The kind of each ASCII character, and what it is folded to, as tables of 128."""
    characters = np.arange(128, dtype=np.uint8).tobytes()
    kinds = [SPACE if one in BLANKS else WORD if chr(one).isalnum() else MARK for one in characters]
    return np.array(kinds, np.uint8), np.frombuffer(characters.lower() if lowercase else characters, np.uint8)
