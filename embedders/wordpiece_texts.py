"""Tokenizes texts by BERT's WordPiece word by word, each distinct word once, many texts at once.

A word is what BERT's pre-tokenizer gives: a run of ASCII letters and digits, or one punctuation mark. Where characters
beyond ASCII are, it is all that stands between two blanks, which the tokenizer takes as a text. Words are found with
NumPy and put together with Arrow, which both let other Python threads run. The ids are those of the tokenizer, which
takes whole texts where many of their characters are beyond ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from embedders.tokenized_texts import Padding, Side, TokenizedTexts, ranges

Ints = npt.NDArray[np.int64]

# Words that are remembered, about 100 MB; then all are forgotten. Longer ones are not.
MEMO_WORDS = 500_000
MEMO_BYTES_A_WORD = 100
# Longer texts the tokenizer takes.
MOST_CHARACTERS = 1 << 20
# One of so many characters may be beyond ASCII. Where it is more, most words are, and few of them come again.
CHARACTERS_AN_OTHER = 12
# Below, a call of the tokenizer costs less than a dozen of NumPy.
LEAST_CHARACTERS = 4096
# Kinds of bytes, a bit each.
SPACE, WORD, MARK, OTHER, END_OF_TEXT = 0, 1, 2, 4, 8
BLANKS = b" \t\n\r"
# Ends each text: none of them has it, and it is a word whose pieces are the special tokens between two texts.
END = b"\0"
# The tokenizer drops control characters, which then do not divide words.
PLAIN = bytes([*BLANKS, *range(33, 127), *range(128, 256)])
PROBE = "a"


class WordPieceTexts:
    """The words of a tokenizer that works as BERT's; ``make`` gives None for another one."""

    def __init__(self, tokenizer: Tokenizer, facts: dict[str, Any], ends: tuple[list[int], list[int]]) -> None:
        self._tokenizer, self._model = tokenizer, tokenizer.model
        self._before, self._after = ends
        added = [re.escape(token["content"]) for token in facts["added_tokens"]]
        self._added = re.compile("|".join(added)) if added else None
        characters = bytes(range(128))
        folded = characters.lower() if facts["normalizer"]["lowercase"] else characters
        self._folded = folded + bytes(range(128, 256))
        self._memo: dict[bytes, list[int]] = {}

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
        marks = np.fromiter(map(_may_be_known, texts), np.bool_, len(texts))
        some = [text for text, known in zip(texts, marks, strict=True) if known]
        if not self._is_plain("\n".join(some)):
            marks[marks] = [self._is_plain(text) for text in some]
        return marks

    def _is_plain(self, text: str) -> bool:
        added = self._added is not None and self._added.search(text) is not None
        return not added and not text.encode().translate(None, PLAIN)

    def encode(
        self, texts: Sequence[str], *, max_length: int, side: Side, padding: Padding
    ) -> tuple[TokenizedTexts, Ints]:
        """Tokenize texts that are ``known``, cut at ``max_length`` tokens, special ones included.

        Returns the tokens, and the number of tokens of each text before the cut, (texts,).
        """
        words = self._words(texts)
        pieces = self._pieces(words.dictionary.to_pylist()).take(words.indices)
        end = pc.index(words.dictionary, END).as_py()
        ends = pieces.offsets.to_numpy()[1:][words.indices.to_numpy() == end] - len(self._before)
        offsets = ends - ends[0]
        ids = pieces.flatten().to_numpy()[ends[0] : ends[-1]]
        totals = np.diff(offsets)
        cut = totals > max_length
        if cut.any():
            starts, stops, lost = offsets[:-1][cut], offsets[1:][cut], totals[cut] - max_length
            first = stops - len(self._after) - lost if side == "right" else starts + len(self._before)
            ids = np.delete(ids, ranges(first, first + lost))
            offsets = np.concatenate(([0], np.cumsum(np.minimum(totals, max_length))))
        return TokenizedTexts(ids, offsets, cut, padding), totals

    def _words(self, texts: Sequence[str]) -> pa.DictionaryArray:
        """The words of all texts, each of which has END before and behind it."""
        characters = END.decode().join(["", *texts, ""]).encode()
        kinds = np.frombuffer(characters.translate(KINDS), np.uint8)
        begins = kinds.copy()
        begins[1:] &= ~(kinds[:-1] & WORD)
        if not characters.isascii():
            _begin_at_blanks(begins, kinds)
        content = characters.translate(self._folded, BLANKS)
        offsets = np.append(np.flatnonzero((begins != 0)[kinds != SPACE]), len(content))
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers).dictionary_encode()

    def _pieces(self, words: list[bytes]) -> pa.LargeListArray:
        """The pieces of each word."""
        # A new dict, not clear(): another thread may be reading the old one.
        memo = self._memo = {} if len(self._memo) > MEMO_WORDS else self._memo
        found = [memo.get(word) for word in words]
        for at, ids in enumerate(found):
            if ids is None:
                word = words[at]
                found[at] = pieces = self._pieces_of(word)
                if len(word) <= MEMO_BYTES_A_WORD:
                    memo[word] = pieces
        return pa.array(found, pa.large_list(pa.int64()))

    def _pieces_of(self, word: bytes) -> list[int]:
        if word == END:
            return [*self._after, *self._before]
        text = word.decode()
        if text.isascii():
            return [token.id for token in self._model.tokenize(text)]
        ids: list[int] = self._untruncated.encode(text, add_special_tokens=False).ids
        return ids

    @cached_property
    def _untruncated(self) -> Tokenizer:
        whole = Tokenizer.from_str(self._tokenizer.to_str())
        whole.no_truncation()
        return whole


def _may_be_known(text: str) -> bool:
    if len(text) > MOST_CHARACTERS:
        return False
    if text.isascii():
        return True
    others = CHARACTERS_AN_OTHER * (len(text) - len(text.encode("ascii", "ignore")))
    return others <= len(text) and _SURROGATE.search(text) is None


def _begin_at_blanks(begins: npt.NDArray[np.uint8], kinds: npt.NDArray[np.uint8]) -> None:
    """Make one word of what stands between two blanks, or ends of texts, where characters beyond ASCII are in it."""
    bounds = np.flatnonzero((kinds == SPACE) | (kinds == END_OF_TEXT))
    after = np.unique(np.searchsorted(bounds, np.flatnonzero(kinds == OTHER)))
    starts, stops = bounds[after - 1] + 1, bounds[after]
    begins[ranges(starts, stops)] = 0
    begins[starts] = 1


def _kind(character: int) -> int:
    if character >= 128:
        return OTHER
    if character == END[0]:
        return END_OF_TEXT
    return SPACE if character in BLANKS else WORD if chr(character).isalnum() else MARK


KINDS = bytes(map(_kind, range(256)))
_SURROGATE = re.compile("[\ud800-\udfff]")
