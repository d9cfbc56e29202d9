"""Cuts texts that are far longer than a model reads, so that they need not be tokenized whole."""

from __future__ import annotations

import re
import string
import unicodedata

from embedders.tokenized_texts import Side

_WHITESPACE = re.compile(r"\s")
_LAST_WHITESPACE = re.compile(r"\s(?=\S*\Z)")
# First and last ideographs of the blocks in which BERT's tokenizer sees words.
_IDEOGRAPHS = (
    ("\u3400", "\u4dbf"),
    ("\u4e00", "\u9fff"),
    ("\uf900", "\ufaff"),
    ("\U00020000", "\U0002a6df"),
)


def cut_text(text: str, limit: int, side: Side) -> str:
    """Keep at most ``limit`` characters of the side that truncation keeps, and whole words where there is a blank.

    A part of a word could be known where the whole is too long to be, so that none is kept, however long the word is.
    Where there is no blank, as in scripts without them, a sign that is a word of its own ends one too. Of a single word
    a part will do if most of it is letters; else normalization may leave little of it (it strips accents), and the text
    stays whole.
    """
    kept = text[-limit:] if side == "left" else text[:limit]
    blank = _WHITESPACE.search(kept) if side == "left" else _LAST_WHITESPACE.search(kept)
    if blank is not None:
        return kept[blank.start() :] if side == "left" else kept[: blank.start()]
    inwards = range(len(kept)) if side == "left" else range(len(kept) - 1, -1, -1)
    sign = next((at for at in inwards if _is_word_of_its_own(kept[at])), None)
    if sign is not None:
        return kept[sign:] if side == "left" else kept[: sign + 1]
    return kept if sum(map(str.isalnum, kept)) > limit // 2 else text


def _is_word_of_its_own(sign: str) -> bool:
    """Whether BERT's tokenizer splits words at a sign: punctuation (ASCII's symbols too) and CJK ideographs."""
    if sign.isascii():
        return sign in string.punctuation
    return unicodedata.category(sign).startswith("P") or any(first <= sign <= last for first, last in _IDEOGRAPHS)
